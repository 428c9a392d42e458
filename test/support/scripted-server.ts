import assert from 'node:assert/strict';
import { Client, type Run } from '../../src/client/client.ts';
import { unplaced } from '../../src/model/placing.ts';

/** A run as a server answers it. */
export const running = (more: object = {}) => ({
  id: 'r',
  tenant: 'default',
  image: 'i',
  state: 'running',
  placing: unplaced,
  acceptedAt: 1,
  attempts: [],
  ...more,
});
export const ended = (state: Run['state'], more: object = {}) => running({ state, endedAt: 2, ...more });

/** A client whose server is `answer`. */
export function clientOf(answer: (method: string, path: string, init: RequestInit) => unknown): Client {
  return new Client('http://127.0.0.1:1/', {
    fetch: async (url, init = {}) => {
      const { pathname, search } = new URL(url);
      const answered = await answer(init.method ?? 'GET', `${pathname}${search}`, init);
      return answered instanceof Response ? answered : Response.json(answered);
    },
  });
}

/** A client whose server answers from a list; what it is asked is written down. */
export function scripted(...answers: unknown[]): { client: Client; asked: string[]; sent: unknown[] } {
  const [asked, sent]: [string[], unknown[]] = [[], []];
  const client = clientOf((method, path, { body }) => {
    asked.push(`${method} ${path.split('?', 1)[0] ?? ''}`);
    if (typeof body === 'string') sent.push(JSON.parse(body));
    return answers.shift() ?? assert.fail('the server is asked too often');
  });
  return { client, asked, sent };
}

/** The answer of a server that does not know the route. */
export const unknownRoute = () =>
  Response.json({ error: { code: 'request.unknown', message: 'there is no such route', fault: 'user', retry: false } }, { status: 404 });
