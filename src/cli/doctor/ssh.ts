import { spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import type { SshConfig } from '../../config/reach.ts';
import { KatafleetError, messageOf } from '../../model/errors.ts';
import { formatBytes } from '../../model/quantity.ts';
import type { Fingerprint } from '../../drivers/contract.ts';
import { fingerprint } from '../../drivers/ssh/fingerprint.ts';
import { type Gate, RemoteDocker } from '../../drivers/ssh/remote.ts';
import { supervisorBinary } from '../../drivers/docker/supervisor.ts';
import { masterWords, sshCommand, type SshTarget, sshTarget } from '../../drivers/transport/target.ts';
import { SshTransport } from '../../drivers/transport/transport.ts';
import { readRecipes } from '../../images/recipe.ts';
import { answerTime, type Finding, landlock, limits } from '../show/finding.ts';

/** A node over ssh, as the configuration has it. */
export interface SshNode {
  name: string;
  endpoint: string;
  ssh?: SshConfig | undefined;
  withoutMemoryLimits?: boolean | undefined;
}

const nodeSetup = 'scripts/node-setup on the node';

/** The steps of docs/legacy.md, looked at from the server's side; after the first that stops katafleet the rest can't be seen. `timeoutMs`: health.timeout. */
export async function sshFindings(node: SshNode, timeoutMs: number): Promise<Finding[]> {
  const findings: Finding[] = [];
  try {
    const target = sshTarget(node.endpoint);
    findings.push(...here(target, node.ssh ?? {}));
    if (!findings.some(({ state }) => state === 'bad')) for await (const finding of there(node, timeoutMs)) findings.push(finding);
  } catch (error) {
    const mend = error instanceof KatafleetError ? error.hint : undefined;
    findings.push({ what: messageOf(error), state: 'bad', ...(mend === undefined ? {} : { mend }) });
  }
  return findings.map((finding) => ({ ...finding, what: `${node.name}: ${finding.what}` }));
}

/** What this machine must have to reach the node: sudo's leave, a key, the node's host key. */
function here(target: SshTarget, settings: SshConfig): Finding[] {
  if (settings.as !== undefined) return [sudo(settings, settings.as)];
  const options = resolved(target, settings);
  return options === undefined ? [] : [key(options), hostKey(target, options)];
}

/** The other user's files are not ours to look at: whether they suffice the connection will tell. */
function sudo(settings: SshConfig, as: string): Finding {
  const [command, ...words] = [...sshCommand(settings), '-V'];
  const { status, stderr, error } = spawnSync(command, words, { encoding: 'utf8' });
  if (status === 0) return { what: `ssh may be called as ${as}`, state: 'good' };
  const why = error ? error.message : stderr.trim().split('\n')[0];
  return {
    what: `ssh can't be called as ${as} (${why ?? ''})`,
    state: 'bad',
    mend: 'scripts/server-setup, with --web-user and the user who runs this',
  };
}

type Options = ReadonlyMap<string, readonly string[]>;

/** OpenSSH's options for the node, its own configuration read. Undefined where ssh is too old to say them (below 6.8). */
function resolved(target: SshTarget, settings: SshConfig): Options | undefined {
  const [command = '', ...words] = [...sshCommand(settings), '-G', ...masterWords(target, settings, 'none')];
  const { status, stdout } = spawnSync(command, words, { encoding: 'utf8' });
  if (status !== 0) return undefined;
  const options = new Map<string, string[]>();
  for (const line of stdout.split('\n')) {
    const [name = '', ...value] = line.split(' ');
    options.set(name, [...(options.get(name) ?? []), value.join(' ')]);
  }
  return options;
}

const atHome = (path: string) => path.replace(/^~(?=\/)/, homedir());
const files = (options: Options, name: string) => (options.get(name) ?? []).flatMap((value) => value.split(' ')).map(atHome);

function key(options: Options): Finding {
  const paths = (options.get('identityfile') ?? []).map((path) => atHome(path.replace(/^"(.*)"$/, '$1')));
  const there = paths.filter((path) => existsSync(path));
  const readable = there.find((path) => {
    try {
      accessSync(path, constants.R_OK);
      return true;
    } catch {
      return false;
    }
  });
  if (readable !== undefined) return { what: `the key ${readable} is there`, state: 'good' };
  if ((process.env['SSH_AUTH_SOCK'] ?? '') !== '') return { what: 'no key file; an agent may have one', state: 'good' };
  const [unreadable] = there;
  if (unreadable !== undefined)
    return {
      what: `the key ${unreadable} can't be read by this user`,
      state: 'bad',
      mend: `chown ${process.env['USER'] ?? 'USER'} ${unreadable}`,
    };
  return { what: `no key: none of ${paths.join(', ')} is there`, state: 'bad', mend: 'scripts/server-setup, or ssh-keygen -t ed25519' };
}

function hostKey({ host }: SshTarget, options: Options): Finding {
  const name = options.get('hostkeyalias')?.[0] ?? options.get('hostname')?.[0] ?? host;
  const port = options.get('port')?.[0] ?? '22';
  const known = port === '22' || options.has('hostkeyalias') ? name : `[${name}]:${port}`;
  const places = [...files(options, 'userknownhostsfile'), ...files(options, 'globalknownhostsfile')];
  const place = places.find((path) => spawnSync('ssh-keygen', ['-F', known, '-f', path], { stdio: 'ignore' }).status === 0);
  if (place !== undefined) return { what: `the host key of ${known} is in ${place}`, state: 'good' };
  return {
    what: `no host key of ${known} is known`,
    state: 'bad',
    mend: `scripts/server-setup --node ${host}, or ssh-keyscan ${port === '22' ? '' : `-p ${port} `}${options.get('hostname')?.[0] ?? host} >> ${places[0] ?? join(homedir(), '.ssh/known_hosts')} once its fingerprint is compared`,
  };
}

/** What the node itself says. */
async function* there({ endpoint, ssh, withoutMemoryLimits = false }: SshNode, timeoutMs: number): AsyncGenerator<Finding> {
  const transport = new SshTransport(endpoint, ssh);
  try {
    const remote = new RemoteDocker(transport);
    const begun = performance.now();
    const gate = await remote.hello();
    yield { what: `ssh reaches ${transport.at}`, state: 'good' };
    yield gate
      ? { what: 'its gate answers (katafleet-gate 1)', state: 'good' }
      : { what: 'no gate: whoever has the key is root there', state: 'weak', mend: nodeSetup };
    yield* loading(gate);
    const [version, info] = await Promise.all([remote.version(), remote.info()]);
    const found = fingerprint(version, info);
    yield {
      what: `docker ${version.server} (client ${version.client}): ${found.cpus} CPUs, ${formatBytes(found.memory)}`,
      state: 'good',
    };
    yield answerTime(performance.now() - begun, timeoutMs);
    const unlimited = withoutMemoryLimits ? 'weak' : 'bad';
    yield* limits(found, { memory: unlimited, swap: unlimited }, false);
    yield* landlock(found, false);
    if (!found.seccomp)
      yield { what: 'its docker has no seccomp: the supervisor’s own filter is all that keeps user code from system calls', state: 'weak' };
    yield await installed(gate, found);
    const tags = new Set((await remote.images()).flatMap((image) => image.tags));
    for (const [recipe, { service }] of await readRecipes()) {
      if (service) continue;
      yield tags.has(`katafleet/${recipe}:latest`)
        ? { what: `image ${recipe} is there`, state: 'good' }
        : { what: `image ${recipe} is not there`, state: 'weak', mend: `katafleet images distribute ${recipe}` };
    }
  } finally {
    await transport.close();
  }
}

/** What the gate lets in beyond runs. A gate of before does not tell, and lets in more. */
function loading(gate: Gate | undefined): Finding[] {
  if (gate?.loads === undefined)
    return gate
      ? [{ what: 'its gate is an older one, by which whoever has the key can become root there', state: 'weak', mend: nodeSetup }]
      : [];
  if (!gate.loads) return [{ what: 'no images are loaded through its gate (LOAD=no)', state: 'good' }];
  return [
    {
      what: 'images can be loaded through its gate (LOAD=yes): whoever has the key can replace any of them, and below Docker 1.10 without AppArmor become root',
      state: 'weak',
      mend: 'node-setup --load no on the node, once the images are there',
    },
  ];
}

/** Whether the node's supervisor is the one that this katafleet speaks with. */
async function installed(gate: Gate | undefined, { architecture }: Fingerprint): Promise<Finding> {
  // The docker command of 1.6 runs on amd64 alone, and doesn't say so.
  const { sha256 } = await supervisorBinary(architecture === 'other' ? 'amd64' : architecture);
  const mend = `${nodeSetup}, with --supervisor and this katafleet's own`;
  if (!gate) return { what: 'the supervisor is brought by an image layer, since there is no gate', state: 'good' };
  if (!gate.supervisor) return { what: 'no supervisor is installed: only images that carry one run there', state: 'weak', mend };
  if (gate.supervisor.sha256 !== sha256)
    return {
      what: `another supervisor is installed: ${gate.supervisor.sha256.slice(0, 12)} instead of ${sha256.slice(0, 12)}`,
      state: 'bad',
      mend,
    };
  return { what: `the supervisor ${sha256.slice(0, 12)} is installed`, state: 'good' };
}
