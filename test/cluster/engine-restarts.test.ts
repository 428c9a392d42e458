import assert from 'node:assert/strict';
import { engineFolder, failures, restartStorm, stormConfig } from '../support/restarts.ts';
import { Service } from '../support/service.ts';

describe('the only node’s engine is started anew under load', function () {
  this.timeout(240_000);
  let service: Service;
  before(async () => {
    service = await Service.start(stormConfig(engineFolder()));
  });
  after(() => service?.[Symbol.asyncDispose]());
  afterEach(function () {
    if (this.currentTest?.state === 'failed') console.error(service.log);
  });

  it('by SIGTERM and by SIGKILL: every run ends as if nothing had been', async () => {
    const result = await restartStorm({ folder: engineFolder(), service, restarts: 4, clients: 4 });
    assert.equal(failures(result), '');
    assert.ok(
      result.runs.some(({ answer }) => answer.attempts.length > 1),
      'runs were met by restarts',
    );
  });
});
