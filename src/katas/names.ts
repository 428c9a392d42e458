import { z } from 'zod';
import { KatafleetError } from '../model/errors.ts';

/** A kata's id: a folder of that name holds it. Cyber-dojo's own (six letters and digits, case matters) fit. */
export const KataId = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$/, 'must be 1 to 63 letters, digits, _ or -, no - or _ first');

/** An avatar's name: a folder, and a branch of an exported kata. Lower case, so that no file system takes two for one. */
export const AvatarName = z.string().regex(/^[a-z0-9][a-z0-9-]{0,62}$/, 'must be 1 to 63 lower-case letters, digits or -, no - first');

/** The branch of an exported kata that holds the start-point; no avatar may be named so. */
export const startBranch = 'start-point';

/** @throws kata.invalid */
export function kataId(text: string): string {
  return checked(KataId, text, 'a kata’s id');
}

/** @throws kata.invalid */
export function avatarName(text: string): string {
  if (text === startBranch)
    throw new KatafleetError('kata.invalid', `no avatar may be named ${startBranch}: exports keep the start-point there`);
  return checked(AvatarName, text, 'an avatar’s name');
}

function checked(schema: z.ZodString, text: string, what: string): string {
  const parsed = schema.safeParse(text);
  if (parsed.success) return text;
  throw new KatafleetError('kata.invalid', `${what} ${parsed.error.issues[0]?.message ?? 'is not valid'}, got ${JSON.stringify(text)}`);
}

/** Code points that HFS+ leaves out when it compares names: git's utf8.c, next_hfs_char. */
const ignoredByHfs = /[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]/g;
/** What NTFS takes for `.git`: the short name, trailing dots and spaces, a stream. Git's path.c, is_ntfs_dotgit. */
const ntfsGit = /^(\.git|git~1)[. ]*(:|$)/i;

/**
 * Whether a path has a part that some file system takes for `.git`: a clone that held it could be made to run what its
 * author likes. The rules are those of git's own core.protectHFS and core.protectNTFS, a backslash counted as a `/`.
 */
export function namesGitFolder(path: string): boolean {
  return path.split(/[/\\]/).some((part) => ntfsGit.test(part) || part.replace(ignoredByHfs, '').toLowerCase() === '.git');
}
