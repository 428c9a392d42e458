import { engineFolder, failures, percentile, restartStorm, stormConfig } from '../support/restarts.ts';
import { Service } from '../support/service.ts';

/**
 * `npm run test:restarts -- [RESTARTS] [CLIENTS]`: a node's only engine is started anew under load, by SIGTERM and SIGKILL in turn.
 * KATAFLEET_TEST_ENGINE names the folder of an engine (scripts/engine up) that has the image build-essential. Fails when a run
 * failed, or the 99th percentile of how late runs are is above 5 s.
 */
const [restarts = 100, clients = 6] = process.argv.slice(2).map(Number);
const worst = 5_000;
const folder = engineFolder();
const service = await Service.start(stormConfig(folder));
try {
  const told = (line: string) => console.log(line);
  const result = await restartStorm({ folder, service, restarts, clients, told });
  const { runs, failed, late, awayMs, reasons } = result;
  const all = (values: number[]) => `p50 ${percentile(values, 0.5)} ms, p99 ${percentile(values, 0.99)} ms, most ${Math.max(...values)} ms`;
  console.log(`${restarts} restarts; the engine was away for ${all(awayMs)}`);
  console.log(`${runs.length} runs, ${failed.length} failed; ${late.length} were met by a restart, later than it by ${all(late)}`);
  for (const [reason, count] of reasons) console.log(`${String(count).padStart(5)} attempts: ${reason}`);
  for (const { answer, lengthMs } of result.latest)
    console.log(`late: ${lengthMs} ms long, ${JSON.stringify({ ...answer, result: answer.result?.timings })}`);
  const { events } = await service.call<{ events: { kind: string; detail: string; at: number }[] }>('GET', '/v1/events?limit=1000');
  const count = (state: string) => events.filter(({ kind }) => kind === state).length;
  console.log(`the node was suspect ${count('suspect')} times, down ${count('down')} times`);
  if (process.env['KATAFLEET_STORM_LOG'])
    console.log(
      events
        .map(({ at, kind, detail }) => `${new Date(at).toISOString()} ${kind} ${detail}`)
        .reverse()
        .join('\n'),
    );
  if (failed.length > 0) console.log(failures(result));
  if (failed.length > 0 || percentile(late, 0.99) > worst) process.exitCode = 1;
} finally {
  await service[Symbol.asyncDispose]();
}
