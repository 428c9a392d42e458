import { formatBytes } from '../../../model/quantity.ts';
import type { Fingerprint } from '../../contract.ts';
import { supervisorBinary } from '../../docker/supervisor.ts';
import { answerTime, type Expectations, failure, type Finding, landlock, limits } from '../../finding.ts';
import { type SshSettings, sshTarget } from '../../transport/target.ts';
import { SshTransport } from '../../transport/transport.ts';
import { fingerprint } from '../fingerprint.ts';
import { type Gate, RemoteDocker } from '../remote.ts';
import { clientFindings } from './client.ts';

const nodeSetup = 'scripts/node-setup on the node';

/** Checks the steps of docs/legacy.md from the server's side. Stops at the first step that keeps the later ones from being checked. */
export async function diagnoseSsh(endpoint: string, settings: SshSettings, expected: Expectations): Promise<Finding[]> {
  const findings: Finding[] = [];
  try {
    findings.push(...clientFindings(sshTarget(endpoint), settings));
    if (findings.some(({ state }) => state === 'bad')) return findings;
    for await (const finding of hostFindings(endpoint, settings, expected)) findings.push(finding);
  } catch (error) {
    findings.push(failure(error));
  }
  return findings;
}

/** What the node itself answers. @throws as RemoteDocker's methods */
async function* hostFindings(endpoint: string, settings: SshSettings, expected: Expectations): AsyncGenerator<Finding> {
  const transport = new SshTransport(endpoint, settings);
  try {
    const remote = new RemoteDocker(transport);
    const begun = performance.now();
    const gate = await remote.hello();
    yield { what: `ssh reaches ${transport.at}`, state: 'good' };
    yield gate
      ? { what: 'its gate answers (katafleet-gate 1)', state: 'good' }
      : { what: 'no gate: a client with the key is root there', state: 'weak', mend: nodeSetup };
    yield* loading(gate);
    const [version, info] = await Promise.all([remote.version(), remote.info()]);
    const found = fingerprint(version, info);
    yield {
      what: `docker ${version.server} (client ${version.client}): ${found.cpus} CPUs, ${formatBytes(found.memory)}`,
      state: 'good',
    };
    yield answerTime(performance.now() - begun, expected.timeoutMs);
    const unlimited = expected.withoutMemoryLimits ? 'weak' : 'bad';
    yield* limits(found, { memory: unlimited, swap: unlimited }, false);
    yield* landlock(found, false);
    if (!found.seccomp)
      yield { what: 'its docker has no seccomp: only the supervisor’s own filter keeps user code from system calls', state: 'weak' };
    yield await installed(gate, found);
    const tags = new Set((await remote.images()).flatMap((image) => image.tags));
    for (const name of expected.images) {
      yield tags.has(`katafleet/${name}:latest`)
        ? { what: `image ${name} is there`, state: 'good' }
        : { what: `image ${name} is not there`, state: 'weak', mend: `katafleet images distribute ${name}` };
    }
  } finally {
    await transport.close();
  }
}

/** Whether the gate lets images in. An older gate does not say so, and admits more. */
function loading(gate: Gate | undefined): Finding[] {
  if (!gate) return [];
  if (gate.loads === undefined)
    return [{ what: 'its gate is an older one: a client with the key can become root there', state: 'weak', mend: nodeSetup }];
  if (!gate.loads) return [{ what: 'its gate loads no images (LOAD=no)', state: 'good' }];
  return [
    {
      what: 'its gate loads images (LOAD=yes): a client with the key can replace any of them, and below Docker 1.10 without AppArmor become root',
      state: 'weak',
      mend: 'node-setup --load no on the node, once the images are there',
    },
  ];
}

/** Whether the node's supervisor is the one that this katafleet speaks with. */
async function installed(gate: Gate | undefined, { architecture }: Fingerprint): Promise<Finding> {
  // The docker command of 1.6 runs on amd64 only, and doesn't name its architecture.
  const { sha256 } = await supervisorBinary(architecture === 'other' ? 'amd64' : architecture);
  const mend = `${nodeSetup}, with --supervisor and this katafleet's own`;
  if (!gate) return { what: 'an image layer brings the supervisor, since there is no gate', state: 'good' };
  if (!gate.supervisor) return { what: 'no supervisor is installed: only images that carry one run there', state: 'weak', mend };
  if (gate.supervisor.sha256 !== sha256)
    return {
      what: `another supervisor is installed: ${gate.supervisor.sha256.slice(0, 12)} instead of ${sha256.slice(0, 12)}`,
      state: 'bad',
      mend,
    };
  return { what: `the supervisor ${sha256.slice(0, 12)} is installed`, state: 'good' };
}
