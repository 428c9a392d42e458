import { KatafleetError } from '../model/errors.ts';
import type { Fleet } from '../fleet/fleet.ts';
import type { ReasonCode, Wanted } from '../scheduler/place/placement.ts';
import type { WhyNot } from '../scheduler/place/why-not.ts';
import type { Admission } from '../scheduler/queue/queue.ts';
import type { Job } from './job.ts';

/** What the nodes lack that refuse for a reason, for a count of them. */
const lacks: Readonly<Record<ReasonCode, string>> = {
  unusable: 'can’t be used',
  health: 'are not ready',
  cordoned: 'are cordoned',
  held: 'are held for another run',
  labels: 'have other labels',
  architecture: 'have another architecture',
  driver: 'can’t give its network',
  limits: 'enforce no memory limits',
  memory_total: 'are too small',
  cpus: 'have too few CPUs',
  image: 'lack the image',
  memory: 'lack free memory',
};

/** Lists the first nodes, each with its reasons; of more nodes only how many lack what. */
function list({ nodes, counts, first }: WhyNot, which: 'all' | 'permanent'): string {
  const words = first.map(({ node, reasons }) => {
    const told = which === 'all' ? reasons : reasons.filter(({ permanent }) => permanent);
    return `${node}: ${told.map(({ text }) => text).join(', ')}`;
  });
  const more = nodes - first.length;
  if (more <= 0) return words.join('; ');
  const counted = Array.from(counts, ([code, count]) => ({ code, of: which === 'all' ? count.nodes : count.permanent }));
  const all = counted.flatMap(({ code, of }) => (of > 0 ? [`${of} ${lacks[code]}`] : []));
  return `${words.join('; ')}; and ${more} more; of all ${nodes} nodes ${all.join(', ')}`;
}

/** The queue does not take the run at present. */
export function queueFull(job: Job, { why, retryAfterMs }: Extract<Admission, { admitted: false }>): KatafleetError {
  const what = {
    runs: 'the queue has as many runs as it may',
    bytes: 'the runs in the queue have as many bytes as they may',
    tenant: `${job.placing.tenant} has as many runs waiting as it may`,
    shapes: `${job.placing.tenant} has runs waiting that differ in as many ways as they may: in image, memory, CPUs or constraints`,
  };
  return new KatafleetError('queue.full', what[why], { hint: 'try again later', retryAfterMs });
}

/**
 * Returns the error of a run that waited too long: the reasons of each node, and the message of the last node that refused the run
 * although it had room.
 */
export function tooLate(job: Job, wanted: Wanted, fleet: Fleet, full?: string): KatafleetError {
  const inTheWay = fleet.whyNot(wanted);
  const words = [...(inTheWay.nodes > 0 ? [list(inTheWay, 'all')] : []), ...(full === undefined ? [] : [full])];
  const why = words.length > 0 ? `: ${words.join('; ')}` : '';
  return new KatafleetError('queue.deadline', `no node could take the run within ${job.placing.queueMs} ms${why}`, {
    hint: 'give it longer to wait, or the fleet more room',
  });
}

/** Returns the error of a run that no node can ever take: the one reason that all nodes share, else the reasons node by node. */
export function rejection(job: Job, wanted: Wanted, fleet: Fleet): KatafleetError {
  const { image } = job.request;
  const why = fleet.whyNot(wanted);
  if (why.nodes === 0) return new KatafleetError('placement.impossible', 'there are no nodes');
  const shares = (code: ReasonCode) => why.counts.get(code)?.permanent === why.nodes;
  const trouble = shares('unusable') ? fleet.trouble : undefined;
  if (trouble) return trouble;
  const nodes = list(why, 'permanent');
  const [only] = why.nodes === 1 ? why.first : [];
  if (shares('image')) {
    return new KatafleetError('image.unknown', `no image "${image}" on ${only ? `the node ${only.node}` : 'any node'}`, {
      hint: `katafleet images build ${image}, if it is one of katafleet's recipes; docker pull ${image}, if it is in a registry`,
    });
  }
  if (shares('memory_total') || shares('cpus')) {
    const permanent = only?.reasons.filter((reason) => reason.permanent);
    const words = only && permanent ? `${permanent.map(({ text }) => text).join(', ')} (${only.node})` : nodes;
    return new KatafleetError('limits.invalid', words);
  }
  return new KatafleetError('placement.impossible', `no node can ever take the run: ${nodes}`, { hint: 'katafleet explain tells more' });
}
