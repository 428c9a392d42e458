import type { Katafleet } from '../../src/index.ts';
import { environmentFacts } from '../support/environment.ts';
import { testFleet } from '../support/fleet.ts';

describe('on an engine', () => {
  let fleet: Katafleet;
  before(() => (fleet = testFleet()));
  after(() => fleet.close());
  environmentFacts('engine', () => fleet, 'katafleet/debian:bookworm');
});
