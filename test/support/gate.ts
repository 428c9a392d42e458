import { spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const gateScript = fileURLToPath(new URL('../../scripts/node/katafleet-gate', import.meta.url));

/** Ids of images in the table of the recording docker. */
export const images = {
  admitted: 'a'.repeat(64),
  adapted: 'ad'.repeat(32),
  foreign: 'f'.repeat(64),
  /** Its name is admitted; the rig sets its volumes. */
  voluminous: 'e0'.repeat(32),
  nameless: '0'.repeat(64),
} as const;
/** The path that the rig uses as the node's own supervisor: a file that every machine has. */
export const installedSupervisor = '/bin/sh';
/** A container with katafleet's label, and one without. */
export const containers = { ours: 'c0'.repeat(32), foreign: 'fc'.repeat(32) } as const;

export interface Verdict {
  code: number | null;
  stdout: string;
  stderr: string;
  /** Words of the call that reached docker, without the gate's own questions. */
  admitted: string[] | undefined;
  /** All calls of docker, with the gate's own questions. */
  calls: string[][];
  /** The environment of docker. */
  environment: string[];
  logged: string;
}

export interface RigOptions {
  /** How many sandboxes the node has. */
  sandboxes?: number;
  /** The engine's version, or the whole output of `docker version`. */
  release?: string;
  /** Whether the node has a supervisor of its own. */
  supervisor?: boolean;
  /** Volumes of the image {@link images.voluminous}, as docker's template prints them. */
  volumes?: string;
  /** The warning of `docker info`. */
  warning?: string;
}

/** Returns the output of `docker version`: flat up to 1.7, else in sections. */
function versionOf(release: string): string {
  if (release.includes('\n')) return release;
  if (/^1\.[0-7]\./.test(release))
    return `Client version: ${release}\nClient API version: 1.18\nServer version: ${release}\nServer API version: 1.18\n`;
  const engine = /^1\.|^17/.test(release)
    ? ` Version:      ${release}`
    : ` Engine:\n  Version:          ${release}\n containerd:\n  Version:          1.6.20`;
  return `Client:\n Version:           1.0.0\n\nServer:\n${engine}\n`;
}

/** katafleet-gate over a docker that records its words and runs nothing. */
export class GateRig implements Disposable {
  readonly folder = mkdtempSync(join(tmpdir(), 'katafleet-gate-'));
  readonly docker = join(this.folder, 'docker');
  readonly config = join(this.folder, 'gate.conf');
  readonly #script = join(this.folder, 'katafleet-gate');
  readonly #calls = join(this.folder, 'calls');
  readonly #log = join(this.folder, 'refusals');

  constructor(
    config: readonly string[] = [],
    { sandboxes = 0, release = '1.6.2', supervisor = true, volumes = '', warning = '' }: RigOptions = {},
  ) {
    chmodSync(this.folder, 0o755);
    copyFileSync(gateScript, this.#script);
    const { docker } = this;
    const rows = Array.from({ length: sandboxes }, (_, at) => `${String(at).padStart(12, '0')} x "y" now Up  katafleet-old-${at}`);
    writeFileSync(
      docker,
      `#!/bin/sh
for word in "$@"; do printf '%s\\0' "$word"; done >>${this.#calls}
printf '\\n' >>${this.#calls}
env >${this.folder}/environment
case "$*" in
  'images --no-trunc') cat <<'TABLE'
REPOSITORY          TAG                 IMAGE ID            CREATED             VIRTUAL SIZE
katafleet/gcc       latest              ${images.admitted}   19 hours ago        596.1 MB
katafleet/adapted   3bee                sha256:${images.adapted}   2 weeks ago         1.47 MB
katafleet/volumes   latest              ${images.voluminous}   2 weeks ago         1.47 MB
debian              bookworm            ${images.foreign}   19 hours ago        117 MB
<none>              <none>              ${images.nameless}   19 hours ago        117 MB
TABLE
  ;;
  'ps -a') printf '%s\\n' 'CONTAINER ID IMAGE COMMAND CREATED STATUS PORTS NAMES'${rows.map((row) => ` '${row}'`).join('')} ;;
  info) echo 'Name: node'; echo '${warning}' >&2 ;;
  version) cat <<'VERSION'
${versionOf(release)}
VERSION
  ;;
  'inspect -f {{with'*${images.voluminous}) echo '${volumes}' ;;
  'inspect -f {{with'*) echo ;;
  'inspect -f'*${containers.ours} | 'inspect -f'*katafleet-0f3c*) echo sandbox ;;
  'inspect -f'*katafleet-gone) echo 'Error: No such image or container: katafleet-gone' >&2; exit 1 ;;
  'inspect -f'*katafleet-broken) echo 'Cannot connect to the Docker daemon.' >&2; exit 1 ;;
  'inspect -f'*) echo '<no value>' ;;
esac
`,
    );
    chmodSync(docker, 0o755);
    const own = supervisor ? installedSupervisor : join(this.folder, 'absent');
    writeFileSync(this.config, [`DOCKER=${docker}`, `LOG=${this.#log}`, `SUPERVISOR=${own}`, 'LOAD=yes', ...config, ''].join('\n'));
  }

  /** Runs the gate on `line`, under the shell given as a command and its first arguments. */
  ask(
    line: string | undefined,
    { shell = ['dash'], environment = {} }: { shell?: readonly string[]; environment?: NodeJS.ProcessEnv } = {},
  ): Verdict {
    for (const file of [this.#calls, this.#log, join(this.folder, 'environment')]) rmSync(file, { force: true });
    const [command = 'sh', ...words] = shell;
    const { status, stdout, stderr, error } = spawnSync(command, [...words, this.#script, '--config', this.config], {
      encoding: 'utf8',
      env: { PATH: '/usr/bin:/bin', ...(line === undefined ? {} : { SSH_ORIGINAL_COMMAND: line }), ...environment },
    });
    if (error) throw error;
    const read = (file: string) => (existsSync(file) ? readFileSync(file, 'utf8') : '');
    const calls = read(this.#calls)
      .split('\n')
      .slice(0, -1)
      .map((call) => call.split('\0').slice(0, -1));
    const refused = status === 126;
    return {
      code: status,
      stdout,
      stderr,
      calls,
      admitted: refused ? undefined : calls.at(-1),
      environment: read(join(this.folder, 'environment')).split('\n').slice(0, -1),
      logged: read(this.#log),
    };
  }

  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** The gate's own questions, which it asks before it decides. */
export const gateQuestions =
  /^(version|info|images --no-trunc|ps -a|inspect -f \{\{(?:with|index) .*\}\} (?:[0-9a-f]{64}|katafleet-[a-z0-9-]+))$/;

const capabilities = ['SETUID', 'SETGID', 'SETPCAP', 'KILL', 'CHOWN', 'FOWNER', 'DAC_OVERRIDE']
  .map((name) => `--cap-add ${name}`)
  .join(' ');
const tmpfs = 'rw,exec,nosuid,nodev,size=33554432,nr_inodes=4096';
/** What differs between releases. */
const byRelease = {
  '1.6.2': {
    pids: '',
    tmpfs: '',
    admin: '--cap-add SYS_ADMIN ',
    privileges: '',
    arguments: ' --tmpfs /sandbox=33554432 --tmpfs /tmp=33554432 --shm 8388608',
    health: '',
  },
  '1.10.3': {
    pids: '',
    tmpfs: `--tmpfs /sandbox:${tmpfs},mode=0755 --tmpfs /tmp:${tmpfs},mode=1777 `,
    admin: '',
    privileges: '',
    arguments: '',
    health: '',
  },
  '1.11.2': {
    pids: '--pids-limit 128 ',
    tmpfs: `--tmpfs /sandbox:${tmpfs},mode=0755 --tmpfs /tmp:${tmpfs},mode=1777 `,
    admin: '',
    privileges: '--security-opt no-new-privileges ',
    arguments: '',
    health: '',
  },
  '20.10.24': {
    pids: '--pids-limit 128 ',
    tmpfs: `--tmpfs /sandbox:${tmpfs},mode=0755 --tmpfs /tmp:${tmpfs},mode=1777 `,
    admin: '',
    privileges: '--security-opt no-new-privileges ',
    arguments: '',
    health: '--no-healthcheck ',
  },
} as const;
export type RigRelease = keyof typeof byRelease;

/** The words of a run that the gate admits, as the ssh driver sends them to an engine of that release. */
export function sandboxRun(image: string = images.admitted, release: RigRelease = '1.6.2'): string[] {
  const its = byRelease[release];
  return (
    `docker run -i --name katafleet-0f3c-1 -m 67108864 --memory-swap 67108864 -c 1024 ${its.pids}${its.tmpfs}--ulimit core=1:1 ` +
    `--ulimit nofile=1024:1024 --net none --read-only -u 0:0 -w / --cap-drop ALL ${capabilities} ${its.admin}${its.privileges}` +
    `-v /sandbox -v /tmp -v ${installedSupervisor}:/.katafleet/supervisor:ro --log-driver none ${its.health}-l katafleet.role=sandbox ` +
    `-l katafleet.deadline=1764034372000 --entrypoint /.katafleet/supervisor ${image} --lifetime 600000${its.arguments}`
  ).split(' ');
}
