// katafleet's own service, whose nodes are not engines but sockets: arguments are the configuration's file and the supervisors' socket.
import { once } from 'node:events';
import { Daemon } from '../../../src/app/daemon.ts';
import { loadConfig } from '../../../src/config/load.ts';
import { EngineDriver } from '../../../src/drivers/engine/driver.ts';
import { fakeFingerprint } from '../../support/fake-driver.ts';
import { SocketDriver } from './socket-driver.ts';

const [file, path = ''] = process.argv.slice(2);
const { config } = loadConfig({ file, env: process.env, cwd: process.cwd() });
const fingerprint = { ...fakeFingerprint, cpus: 64, memory: 1024 * 1024 ** 3 };
// The endpoint's own driver asks what is there; this node's sandboxes are all made by the other.
EngineDriver.prototype.probe = () => Promise.resolve(fingerprint);
const drivers = new Map<string, SocketDriver>();
const driverOf = (endpoint: string) => {
  const driver = drivers.get(endpoint) ?? new SocketDriver(endpoint, path, fingerprint);
  drivers.set(endpoint, driver);
  return driver;
};
for (const name of Object.getOwnPropertyNames(EngineDriver.prototype)) {
  if (name === 'constructor' || name === 'probe') continue;
  // What a socket's driver lacks is optional in the contract.
  const value = Reflect.has(SocketDriver.prototype, name)
    ? function (this: EngineDriver, ...args: unknown[]) {
        const driver = driverOf(this.endpoint);
        return (driver[name as 'create'] as (...given: unknown[]) => unknown).apply(driver, args);
      }
    : undefined;
  Object.defineProperty(EngineDriver.prototype, name, { value });
}
const daemon = await Daemon.open({ config, log: (line) => process.stderr.write(`${line}\n`) });
process.stdout.write(`katafleet serves at ${await daemon.start()}\n`);
await Promise.race([once(process, 'SIGTERM'), once(process, 'SIGINT')]);
await daemon.stop();
