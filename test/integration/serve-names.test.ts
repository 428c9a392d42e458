import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import { hostname } from 'node:os';
import { Service } from '../support/service.ts';

describe('katafleet serve at all addresses', function () {
  this.timeout(120_000);

  it('answers to its host’s name and those of server.names and KATAFLEET_NAMES, and says which of the latter is none', async () => {
    process.env['KATAFLEET_NAMES'] = 'katafleet, tasks.katafleet not/a/name';
    await using service = await Service.start({ server: { listen: '0.0.0.0:0', names: ['Runner.Example.'] } }).finally(() => {
      delete process.env['KATAFLEET_NAMES'];
    });
    const { port } = new URL(service.url);
    const asked = async (host: string): Promise<number | undefined> => {
      const request = http.get({ host: '127.0.0.1', port, path: '/health/live', headers: { host }, agent: false });
      const [response] = (await once(request, 'response')) as [http.IncomingMessage];
      response.resume();
      return response.statusCode;
    };
    const names = ['runner.example', 'katafleet:7420', 'tasks.katafleet', hostname(), '10.1.2.3', 'localhost'];
    for (const name of names) assert.equal(await asked(name), 200, name);
    for (const name of ['evil.example', 'not', 'not/a/name']) assert.equal(await asked(name), 403, name);
    assert.match(service.log, /KATAFLEET_NAMES: "not\/a\/name" is not the name of a host/);
  });
});
