import { hostNodeFault } from '../../images/host-node.ts';
import type { Finding } from '../../drivers/finding.ts';

/** What keeps this machine's Node out of katafleet's own image, which `deploy` needs: told before that is built, for minutes. */
export async function ownImageFindings(look: typeof hostNodeFault = hostNodeFault): Promise<Finding[]> {
  const fault = await look();
  if (!fault) return [];
  const what = `katafleet's own image, which katafleet deploy needs, can't be built here: ${fault.message}`;
  return [{ what, state: 'weak', ...(fault.hint === undefined ? {} : { mend: fault.hint }) }];
}
