import { KatafleetError } from '../../../model/errors.ts';
import { malformed } from './malformed.ts';

/** A release of Docker as its numbers, `[1, 6, 2]` or `[20, 10, 24]`. */
export type Release = readonly [major: number, minor: number, patch: number];

export interface VersionAnswer {
  client: string;
  server: string;
  /** The newest API version of the server, `1.18`. */
  api: string;
  /** `amd64`, as the server names it. */
  architecture: string | undefined;
}

/**
 * Parses `docker version` of any release: flat up to 1.7 (`Server version: 1.6.2`), in sections since 1.8, with a section for the
 * engine since 18.09. @throws engine.unreachable while the daemon shuts down, engine.failed
 */
export function parseVersion(text: string): VersionAnswer {
  const fields = { client: new Map<string, string>(), server: new Map<string, string>() };
  let section: 'client' | 'server' | undefined;
  for (const line of text.split('\n')) {
    const flat = /^(Client|Server) (version|API version):\s*(\S+)/.exec(line) ?? /^(?:OS\/Arch) \((client|server)\):\s*(\S+)/.exec(line);
    if (flat) {
      const [, side = '', field = '', value = ''] = flat.length === 3 ? [flat[0], flat[1], 'os/arch', flat[2]] : flat;
      put(fields[side.toLowerCase() === 'client' ? 'client' : 'server'], field, value);
      continue;
    }
    const head = /^(Client|Server):/.exec(line);
    if (head) section = head[1] === 'Client' ? 'client' : 'server';
    const field = /^\s+(Version|API version|OS\/Arch):\s*(\S+)/.exec(line);
    if (field && section) put(fields[section], field[1] ?? '', field[2] ?? '');
  }
  // The client of 1.6 prints empty fields then, and exits with 0.
  if (!fields.server.has('version') && /^Server version:\s*$/m.test(text)) {
    throw new KatafleetError('engine.unreachable', 'docker version: the daemon is shutting down and gives no version', {
      hint: 'start it on the node: service docker start, or systemctl start docker',
    });
  }
  const [client, server, api] = [fields.client.get('version'), fields.server.get('version'), fields.server.get('api version')];
  if (client === undefined || server === undefined || api === undefined || !/^\d{1,3}\.\d{1,4}$/.test(api)) {
    throw malformed('version', "the client's and the server's versions", text);
  }
  return { client, server, api, architecture: fields.server.get('os/arch')?.split('/')[1] };
}

/** Keeps the first value of each field: containerd and runc print versions too, after the engine's. */
function put(fields: Map<string, string>, name: string, value: string): void {
  const key = name.toLowerCase();
  if (!fields.has(key)) fields.set(key, value);
}

/** Parses the numbers of a version such as `1.6.2`, `18.03.1-ce` or `20.10.24+dfsg1`. @throws engine.failed */
export function parseRelease(version: string): Release {
  const match = /^(\d{1,4})\.(\d{1,4})(?:\.(\d{1,4}))?/.exec(version);
  if (!match) throw malformed('version', 'a release such as 1.6.2 or 20.10.24', version);
  return [Number(match[1]), Number(match[2]), Number(match[3] ?? 0)];
}

/** Whether a release is MAJOR.MINOR or later. */
export function since(release: Release, major: number, minor: number): boolean {
  return release[0] > major || (release[0] === major && release[1] >= minor);
}
