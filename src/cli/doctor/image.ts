import { defined } from '../../base/defined.ts';
import { hostNodeFault } from '../../images/host-node.ts';
import type { Finding } from '../../drivers/finding.ts';

/** Why this machine's Node can't go into katafleet's own image, which `deploy` needs. The build would fail after minutes. */
export async function ownImageFindings(look: typeof hostNodeFault = hostNodeFault): Promise<Finding[]> {
  const fault = await look();
  if (!fault) return [];
  const what = `katafleet's own image, which katafleet deploy needs, can't be built here: ${fault.message}`;
  return [{ what, state: 'weak', ...defined({ mend: fault.hint }) }];
}
