import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { KatafleetError } from '../../../src/model/errors.ts';
import { ownAddress } from '../../../src/drivers/swarm/nodes/advertise.ts';
import { type ManagerEngine, Managers } from '../../../src/drivers/swarm/nodes/managers.ts';
import { freePort } from '../../support/free-port.ts';

const engine = (endpoint: string) => ({ endpoint }) as ManagerEngine;

describe('the address that tasks dial, where none is configured', () => {
  let server: Server;
  let open: string;
  let closed: string;
  before(async () => {
    server = createServer((socket) => socket.destroy()).listen(0, '127.0.0.1');
    await once(server, 'listening');
    open = `tcp://127.0.0.1:${(server.address() as AddressInfo).port}`;
    closed = `tcp://127.0.0.1:${await freePort()}`;
  });
  after(() => server.close());

  it('is the one by which this machine reaches a manager', async () => {
    assert.equal(await ownAddress(new Managers([engine(open)])), '127.0.0.1');
  });

  it('while no manager answers it is not known, which is no fault of the configuration; another manager is asked', async () => {
    await assert.rejects(
      ownAddress(new Managers([engine(closed)])),
      (error) => error instanceof KatafleetError && error.code === 'engine.unreachable' && error.retry,
    );
    assert.equal(await ownAddress(new Managers([engine(closed), engine(open)])), '127.0.0.1');
  });

  it('must be configured if the manager is reached by ssh', async () => {
    await assert.rejects(
      ownAddress(new Managers([engine('ssh://u@h')])),
      (error) => error instanceof KatafleetError && error.code === 'config.invalid' && /swarm\.advertise/.test(error.message),
    );
  });
});
