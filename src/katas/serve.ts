import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { MiB } from '../base/units.ts';
import { KatafleetError, messageOf } from '../model/errors.ts';
import { type Git, gitEnvironment, gitSettings } from './git.ts';

/** Most bytes of a client's request for commits: it sends a line of some 50 bytes for each commit that it wants or has. */
const mostAsked = 4 * MiB;
/** Time limit for one answer (ms). */
const mostMs = 120_000;

export interface ServeOptions {
  /** A Git of its own, so that slow clones do not delay commits. */
  git: Git;
  /** Returns the repository of an avatar. @throws kata.unknown */
  repository: (kata: string, avatar: string) => Promise<string>;
  trouble: (message: string) => void;
}

/**
 * Answers `git clone http://…/KATA/AVATAR.git` and fetches, by git's smart protocol (gitprotocol-http(5)). It is read only:
 * receive-pack is not offered. `path` is the rest of the request's path, without its query. Returns whether the path was one of git's;
 * if not, no answer was sent.
 */
export function serveClones({ git, repository, trouble }: ServeOptions) {
  return async (path: string, request: IncomingMessage, response: ServerResponse): Promise<boolean> => {
    const [, kata = '', avatar = '', what = ''] = /^\/([^/]+)\/([^/]+)\.git\/(info\/refs|git-upload-pack)$/.exec(path) ?? [];
    if (what === '') return false;
    const refs = what === 'info/refs';
    const service = new URL(request.url ?? '/', 'http://localhost').searchParams.get('service');
    if (request.method !== (refs ? 'GET' : 'POST')) refuse(response, 405, 'this repository can be read only');
    else if (refs && service !== 'git-upload-pack')
      refuse(response, 403, 'this repository can be read only, by a git that speaks the smart protocol');
    else {
      try {
        const at = await repository(kata, avatar);
        await git.hold(() => uploadPack(at, refs, request, response));
      } catch (error) {
        const known = error instanceof KatafleetError;
        if (!known || error.code === 'kata.git') trouble(`a clone of ${kata}/${avatar} broke off: ${messageOf(error)}`);
        if (response.headersSent) response.destroy();
        else refuse(response, known ? error.httpStatus : 500, messageOf(error));
      }
    }
    return true;
  };
}

async function uploadPack(repository: string, refs: boolean, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const protocol = request.headers['git-protocol'];
  const args = ['upload-pack', '--stateless-rpc', '--strict', '--timeout=30', ...(refs ? ['--http-backend-info-refs'] : []), repository];
  const child = spawn('git', [...gitSettings, '-c', 'uploadpack.hideRefs=refs/katafleet', ...args], {
    stdio: 'pipe',
    // Only a version may come from a client into a program's environment.
    env: { ...gitEnvironment(), ...(typeof protocol === 'string' && /^version=[0-2]$/.test(protocol) ? { GIT_PROTOCOL: protocol } : {}) },
  });
  const kill = () => child.kill('SIGKILL');
  const late = setTimeout(kill, mostMs);
  response.once('close', kill);
  const said: Buffer[] = [];
  child.stderr.on('data', (chunk: Buffer) => said.length < 16 && said.push(chunk));
  const ended = once(child, 'close') as Promise<[number | null]>;
  try {
    response.setHeader('cache-control', 'no-cache');
    response.setHeader('content-type', `application/x-git-upload-pack-${refs ? 'advertisement' : 'result'}`);
    if (refs) response.write('001e# service=git-upload-pack\n0000');
    const asked = pipeline(body(request), child.stdin).catch((error: unknown) => error); // if git ends early, it has reported why
    await pipeline(child.stdout, response, { end: false });
    const [code] = await ended;
    const fault = await asked;
    if (fault instanceof KatafleetError) throw fault;
    if (code !== 0)
      throw new KatafleetError(
        'kata.git',
        `git upload-pack ended with ${code ?? 'a signal'}: ${Buffer.concat(said).toString('utf8').trim()}`,
      );
    response.end();
  } finally {
    clearTimeout(late);
    response.off('close', kill);
    kill();
  }
}

async function* body(request: IncomingMessage): AsyncGenerator<Buffer> {
  const source = request.headers['content-encoding'] === 'gzip' ? request.pipe(createGunzip()) : request;
  let size = 0;
  for await (const chunk of source as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > mostAsked) throw new KatafleetError('request.too_large', `more than ${mostAsked} bytes to ask for commits`);
    yield chunk;
  }
}

function refuse(response: ServerResponse, status: number, why: string): void {
  response.writeHead(status, { 'content-type': 'text/plain; charset=utf-8' }).end(`${why}\n`);
}
