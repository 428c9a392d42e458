import { defined } from '../../base/defined.ts';
import { z } from 'zod';
import { KatafleetError, messageOf } from '../../model/errors.ts';
import { labels } from '../../model/labels.ts';
import { LightRules } from '../../model/lights.ts';
import type { PreparedImage } from '../contract.ts';
import { supervisorPath } from './isolation.ts';

/** @throws image.unknown for an architecture that katafleet has no supervisor for */
export function imageArchitecture(architecture: string, name: string): 'amd64' | 'arm64' {
  if (architecture === 'amd64' || architecture === 'arm64') return architecture;
  throw new KatafleetError('image.unknown', `the image ${name} is for ${architecture}; katafleet runs amd64 and arm64`);
}

/** Returns what an image declares in its labels, after checks: anyone can write a label. @throws recipe.invalid */
export function declared(own: Readonly<Record<string, string>>, name: string): Pick<PreparedImage, 'lights' | 'command' | 'user'> {
  const read = <T>(label: string, schema: z.ZodType<T>): T | undefined => {
    const text = own[label];
    if (text === undefined) return undefined;
    try {
      return schema.parse(JSON.parse(text));
    } catch (cause) {
      throw new KatafleetError('recipe.invalid', `the label ${label} of the image ${name} is not valid: ${messageOf(cause)}`, {
        cause,
      });
    }
  };
  const lights = read(labels.lights, LightRules);
  const command = read(labels.command, z.array(z.string()).min(1));
  const user = ownUser(own[labels.user], name);
  return defined({ lights, command, user });
}

function ownUser(text: string | undefined, name: string): PreparedImage['user'] {
  if (text === undefined) return undefined;
  const [, uid, gid] = /^(\d{1,10}):(\d{1,10})$/.exec(text) ?? [];
  const user = { uid: Number(uid), gid: Number(gid) };
  const sound = (id: number) => id >= 1 && id < 0xffff_ffff;
  if (sound(user.uid) && sound(user.gid)) return user;
  throw new KatafleetError('recipe.invalid', `the label ${labels.user} of the image ${name} is not UID:GID of a user that is not root`);
}

interface ImageCommand {
  Entrypoint?: string | readonly string[] | null | undefined;
  Cmd?: string | readonly string[] | null | undefined;
}

/** Returns the command that `docker run` would run without one: the image's ENTRYPOINT followed by its CMD. */
export function imageCommandOf({ Entrypoint, Cmd }: ImageCommand): Pick<PreparedImage, 'imageCommand'> {
  const imageCommand = [Entrypoint ?? [], Cmd ?? []].flat();
  return imageCommand.length === 0 || imageCommand[0] === supervisorPath ? {} : { imageCommand };
}
