import assert from 'node:assert/strict';
import type { InjectOptions } from 'fastify';
import type { MemoryBudget } from '../../src/base/server-memory.ts';
import { Maintenance, type MaintenanceJob } from '../../src/fleet/upkeep/maintenance.ts';
import { buildApp } from '../../src/http/app.ts';
import { profileOf } from '../../src/model/profile.ts';
import { MiB } from './fake-fleet.ts';
import { fakeService } from './fake-service.ts';

/** The fields of the API's answers that tests read. */
interface Body {
  id: string;
  state: string;
  position?: number;
  error?: { code: string; message: string; hint?: string; retryAfterMs?: number };
  result?: { steps: { stdout: string; stdoutBase64?: string }[]; changes: { files: object[] }; outcome: object };
  runs: { id: string }[];
  counts: Record<string, number>;
  nodes: { node?: string; name?: string; kind?: string; chosen?: boolean; reasons?: { text: string }[]; troubles?: string[] }[];
  images: { name: string; ready: string[] }[];
  events: { kind: string }[];
  jobs: { name: string; outcome?: string }[];
}

/** The API over a fleet in memory. */
export async function api(
  names: string[],
  options: Parameters<typeof fakeService>[1] & {
    jobs?: MaintenanceJob[];
    bodyLimit?: number;
    memory?: MemoryBudget;
    leaveMs?: number;
  } = {},
) {
  const { memory } = options;
  const service = await fakeService(names, { ...options, ...(memory ? { requests: memory.requests } : {}) });
  const { fleet, journal } = service;
  const state = { stopping: false, takes: true };
  const profile = profileOf({ memory: 64 * MiB, wallMs: 2_000 });
  const app = buildApp(
    {
      fleet,
      runs: service.service,
      maintenance: new Maintenance(options.jobs ?? [], journal, () => undefined),
      profile: (given) => ({ ...profile, ...(typeof given === 'object' ? given : {}) }),
      queueMs: 60_000,
      idleMemory: 16 * MiB,
      cordon: async (node, how) => {
        if (node.includes('/')) await fleet.cordonMachine(node, how);
        else if (how === 'uncordon') fleet.uncordon(node);
        else fleet.cordon(node, how === 'drain');
      },
      journal,
      stopping: () => state.stopping,
      takes: () => state.takes,
      clones: (path, _request, response) => {
        if (path !== '/kata/avatar.git/info/refs') return Promise.resolve(false);
        response.end('refs');
        return Promise.resolve(true);
      },
    },
    {
      bodyLimit: options.bodyLimit ?? 10_000,
      hosts: { loopbackOnly: true, names: [] },
      ...(memory ? { memory } : {}),
      ...(options.leaveMs === undefined ? {} : { leaveMs: options.leaveMs }),
    },
  );
  /** Returns an answer's status, body and headers. Fails if the answer shows katafleet's own internals. */
  const ask = async (method: 'GET' | 'POST' | 'DELETE' | 'PUT', url: string, more: Omit<InjectOptions, 'method' | 'url'> = {}) => {
    const response = await app.inject({ method, url, headers: { host: '127.0.0.1:7420' }, ...more });
    assert.match(String(response.headers['content-type']), /^application\/json/, response.body);
    assert.ok(!/\n\s+at |\.ts:\d|\.js:\d|node_modules/.test(response.body), response.body);
    return { status: response.statusCode, headers: response.headers, body: response.json<Record<string, never> & Body>() };
  };
  /** Serves the API over HTTP and returns its URL. */
  const listen = () => app.listen({ host: '127.0.0.1', port: 0 });
  const close = async () => {
    await app.close();
    await service.close();
  };
  return { ...service, app, ask, listen, close, state };
}
