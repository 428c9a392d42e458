import { connect } from 'node:net';
import { z } from 'zod';
import { KatafleetError } from '../../../model/errors.ts';
import { inSeconds } from '../../../model/quantity.ts';
import { engineError } from '../../docker/errors.ts';
import type { ManagerEngine, Managers } from './managers.ts';

const connectMs = 5_000;
const Info = z.object({ Swarm: z.object({ NodeAddr: z.string().default('') }).prefault({}) });

/**
 * Returns the address of this machine that the swarm's nodes can probably reach, if none is configured. If a manager runs on this
 * machine, this is the manager's address in the swarm; else it is the local address of a connection to the manager.
 * @throws config.invalid, engine.*
 */
export function ownAddress(managers: Managers): Promise<string> {
  return managers.ask(async (engine) => {
    const url = new URL(engine.endpoint);
    if (url.protocol === 'unix:') return nodeAddress(managers);
    if (url.protocol === 'ssh:') throw unknown(engine, 'it is reached by ssh');
    try {
      return await localAddress(url.hostname.replace(/^\[|\]$/g, ''), Number(url.port || (url.protocol === 'https:' ? 2376 : 2375)));
    } catch (error) {
      throw engineError(error, engine.endpoint, 'find out our own address'); // an unreachable manager is not the configuration's fault
    }
  });
}

async function nodeAddress(managers: Managers): Promise<string> {
  const { Swarm } = await managers.do('ask for the address of the manager', async (docker) => Info.parse(await docker.info()));
  if (Swarm.NodeAddr === '') throw unknown(managers.current, 'the engine names none');
  return Swarm.NodeAddr;
}

function localAddress(host: string, port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port });
    socket.once('error', reject);
    socket.setTimeout(connectMs, () => socket.destroy(new Error(`no connection within ${inSeconds(connectMs)}`)));
    socket.once('connect', () => {
      const { localAddress: address } = socket;
      socket.destroy();
      if (address === undefined) reject(new Error('the connection has no address'));
      else resolve(address);
    });
  });
}

function unknown({ endpoint }: ManagerEngine, why: string): KatafleetError {
  return new KatafleetError(
    'config.invalid',
    `swarm.advertise: which address of this machine the nodes of ${endpoint} reach can't be told: ${why}`,
    {
      hint: 'set swarm.advertise to HOST:PORT',
    },
  );
}

/** `HOST:PORT`, IPv6 in brackets. */
export const hostAndPort = (host: string, port: number): string => (host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`);
