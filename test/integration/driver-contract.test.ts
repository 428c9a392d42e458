import { EngineDriver } from '../../src/drivers/engine/driver.ts';
import { driverContract } from '../support/driver-contract.ts';
import { endpoint } from '../support/fleet.ts';

driverContract('engine', () => new EngineDriver({ endpoint }), 'build-essential');
