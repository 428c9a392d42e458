import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const gateScript = fileURLToPath(new URL('../../scripts/node/katafleet-gate', import.meta.url));

/** Ids of images as the recording docker's table has them. */
export const images = {
  admitted: 'a'.repeat(64),
  adapted: 'ad'.repeat(32),
  foreign: 'f'.repeat(64),
  nameless: '0'.repeat(64),
} as const;
/** A container with katafleet's label, and one without. */
export const containers = { ours: 'c0'.repeat(32), foreign: 'fc'.repeat(32) } as const;

export interface Verdict {
  code: number | null;
  stdout: string;
  stderr: string;
  /** Words of the call that was let through to docker; the gate's own questions are not among them. */
  admitted: string[] | undefined;
  /** All that docker was asked, the gate's own questions too. */
  calls: string[][];
  /** The environment that docker saw. */
  environment: string[];
  logged: string;
}

/** katafleet-gate over a docker that writes down its words and runs nothing. */
export class GateRig implements Disposable {
  readonly folder = mkdtempSync(join(tmpdir(), 'katafleet-gate-'));
  readonly #calls = join(this.folder, 'calls');
  readonly #log = join(this.folder, 'refusals');

  constructor(config: readonly string[] = [], sandboxes = 0, warning = '') {
    const docker = join(this.folder, 'docker');
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
debian              bookworm            ${images.foreign}   19 hours ago        117 MB
<none>              <none>              ${images.nameless}   19 hours ago        117 MB
TABLE
  ;;
  'ps -a') printf '%s\\n' 'CONTAINER ID IMAGE COMMAND CREATED STATUS PORTS NAMES'${rows.map((row) => ` '${row}'`).join('')} ;;
  info) echo 'Name: node'; echo '${warning}' >&2 ;;
  'inspect -f'*${containers.ours}) echo sandbox ;;
  'inspect -f'*) echo '<no value>' ;;
esac
`,
    );
    chmodSync(docker, 0o755);
    writeFileSync(join(this.folder, 'gate.conf'), [`DOCKER=${docker}`, `LOG=${this.#log}`, ...config, ''].join('\n'));
  }

  /** What the gate makes of `line`, under the shell given as a command and its first arguments. */
  ask(
    line: string | undefined,
    { shell = ['dash'], environment = {} }: { shell?: readonly string[]; environment?: NodeJS.ProcessEnv } = {},
  ): Verdict {
    for (const file of [this.#calls, this.#log, join(this.folder, 'environment')]) rmSync(file, { force: true });
    const [command = 'sh', ...words] = shell;
    const { status, stdout, stderr, error } = spawnSync(command, [...words, gateScript, '--config', join(this.folder, 'gate.conf')], {
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

/** The words of a run that the gate admits, as the ssh driver writes them for Docker 1.6. */
export function sandboxRun(image: string = images.admitted): string[] {
  return (
    'docker run -i --name katafleet-0f3c-1 -m 67108864 --memory-swap 67108864 -c 1024 --ulimit core=0:0 --ulimit nofile=1024:1024 ' +
    '--net none --read-only -u 0:0 -w / --cap-drop ALL --cap-add SETUID --cap-add SETGID --cap-add SETPCAP --cap-add KILL ' +
    '--cap-add CHOWN --cap-add FOWNER --cap-add DAC_OVERRIDE --cap-add SYS_ADMIN -v /sandbox -v /tmp ' +
    '-v /usr/local/lib/katafleet/supervisor:/.katafleet/supervisor:ro --log-driver none -l katafleet.role=sandbox ' +
    `-l katafleet.deadline=1764034372000 --entrypoint /.katafleet/supervisor ${image} --lifetime 600000 --tmpfs /sandbox=33554432`
  ).split(' ');
}
