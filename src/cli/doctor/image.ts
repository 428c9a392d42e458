import { defined } from '../../base/defined.ts';
import { hostNodeFault } from '../../images/host-node.ts';
import type { Finding } from '../../drivers/finding.ts';

/**
 * Reports why this machine's Node cannot be put into katafleet's own image, which `deploy` needs. The build itself would fail only
 * after minutes.
 */
export async function ownImageFindings(look: typeof hostNodeFault = hostNodeFault): Promise<Finding[]> {
  const fault = await look();
  if (!fault) return [];
  const what = `katafleet's own image, which katafleet deploy needs, can't be built here: ${fault.message}`;
  return [{ what, state: 'weak', ...defined({ mend: fault.hint }) }];
}
