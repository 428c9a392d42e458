import type Dockerode from 'dockerode';
import { KatafleetError, messageOf } from '../model/errors.ts';

/**
 * Returns the group of the engine's socket as a container sees it. Only the engine's host knows it, so a short-lived container looks it
 * up.
 * @throws engine.failed if the engine's host has no socket there
 */
export async function socketGroup(docker: Dockerode, image: string, socket: string): Promise<number> {
  const failed = (why: string, cause?: unknown) =>
    new KatafleetError('engine.failed', `the group of the engine's socket ${socket} can't be found out: ${why}`, {
      cause,
      hint: "--socket names the socket on the engine's host, --socket-group the number of its group",
    });
  const made = await docker
    .createContainer({
      Image: image,
      Entrypoint: ['stat', '--format', '%g %F', '/socket'],
      Cmd: [],
      Tty: true, // gives the output without frames
      HostConfig: {
        NetworkMode: 'none',
        ReadonlyRootfs: true,
        CapDrop: ['ALL'],
        Mounts: [{ Type: 'bind', Source: socket, Target: '/socket', ReadOnly: true }],
      },
    })
    .catch((cause: unknown) => {
      throw failed(messageOf(cause), cause);
    });
  try {
    await made.start();
    await made.wait();
    const said = (await made.logs({ stdout: true, stderr: true })).toString().trim();
    const group = /^(\d+) socket$/.exec(said)?.[1];
    if (group === undefined) throw failed(said);
    return Number(group);
  } finally {
    await made.remove({ force: true, v: true });
  }
}
