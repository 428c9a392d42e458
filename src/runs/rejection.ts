import { listed } from '../base/listed.ts';
import { KatafleetError } from '../model/errors.ts';
import type { Reason } from '../model/verdict.ts';
import type { Fleet } from '../fleet/fleet.ts';
import type { ReasonCode, Wanted } from '../scheduler/place/placement.ts';
import type { Admission } from '../scheduler/queue/queue.ts';
import type { Job } from './job.ts';

const shown = 20;

/** Lists the first nodes, each with its reason. */
function list(nodes: readonly { node: string; reasons: readonly Reason[] }[]): string {
  const words = nodes.map(({ node, reasons }) => `${node}: ${reasons.map(({ text }) => text).join(', ')}`);
  return listed(words, shown, { separator: '; ', and: '; and ' });
}

/** The queue does not take the run at present. */
export function queueFull(job: Job, { why, retryAfterMs }: Extract<Admission, { admitted: false }>): KatafleetError {
  const what = {
    runs: 'the queue has as many runs as it may',
    bytes: 'the runs in the queue have as many bytes as they may',
    tenant: `${job.placing.tenant} has as many runs waiting as it may`,
  };
  return new KatafleetError('queue.full', what[why], { hint: 'try again later', retryAfterMs });
}

/**
 * Returns the error of a run that waited too long: the reasons of each node, and the message of the last node that refused the run
 * although it had room.
 */
export function tooLate(job: Job, wanted: Wanted, fleet: Fleet, full?: string): KatafleetError {
  const inTheWay = fleet.explain(wanted).flatMap((verdict) => (verdict.kind === 'passed_over' ? [verdict] : []));
  const words = [...(inTheWay.length > 0 ? [list(inTheWay)] : []), ...(full === undefined ? [] : [full])];
  const why = words.length > 0 ? `: ${words.join('; ')}` : '';
  return new KatafleetError('queue.deadline', `no node could take the run within ${job.placing.queueMs} ms${why}`, {
    hint: 'give it longer to wait, or the fleet more room',
  });
}

/** Returns the error of a run that no node can ever take: the one reason that all nodes share, else the reasons node by node. */
export function rejection(job: Job, wanted: Wanted, fleet: Fleet): KatafleetError {
  const { image } = job.request;
  const verdicts = fleet.explain(wanted).flatMap((verdict) => (verdict.kind === 'passed_over' ? [verdict] : []));
  if (verdicts.length === 0) return new KatafleetError('placement.impossible', 'there are no nodes');
  const permanent = verdicts.map(({ node, reasons }) => ({ node, reasons: reasons.filter((reason) => reason.permanent) }));
  const shares = (code: ReasonCode) => permanent.every(({ reasons }) => reasons.some((reason) => reason.code === code));
  const { trouble } = fleet;
  if (trouble && shares('unusable')) return trouble;
  const nodes = list(permanent);
  if (shares('image')) {
    return new KatafleetError(
      'image.unknown',
      `no image "${image}" on ${permanent.length === 1 ? `the node ${permanent[0]?.node ?? ''}` : 'any node'}`,
      {
        hint: `katafleet images build ${image}, if it is one of katafleet's recipes; docker pull ${image}, if it is in a registry`,
      },
    );
  }
  if (shares('memory_total') || shares('cpus')) {
    const [only] = permanent;
    const words = permanent.length === 1 && only ? `${only.reasons.map(({ text }) => text).join(', ')} (${only.node})` : nodes;
    return new KatafleetError('limits.invalid', words);
  }
  return new KatafleetError('placement.impossible', `no node can ever take the run: ${nodes}`, { hint: 'katafleet explain tells more' });
}
