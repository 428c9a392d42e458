import { driverContract } from '../support/driver-contract.ts';
import { FakeDriver } from '../support/fake-driver.ts';

driverContract('the scripted fake', () => new FakeDriver(), 'any');
