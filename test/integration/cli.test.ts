import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const main = fileURLToPath(new URL('../../dist/main.js', import.meta.url));
const exec = promisify(execFile);

interface Ended {
  code: number;
  stdout: string;
  stderr: string;
}

/** A shell line in which `katafleet` is ours: pipes and redirections as a person writes them. */
async function shell(line: string, cwd: string): Promise<Ended> {
  const script = `set -o pipefail; katafleet() { "$NODE" "$MAIN" "$@"; }\n${line}`;
  const child = spawn('bash', ['-c', script], {
    cwd,
    env: { ...process.env, NODE: process.execPath, MAIN: main },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const [stdout, stderr, ended] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]);
  return { code: Number(ended[0]), stdout, stderr };
}

describe('katafleet run, as people call it', () => {
  let folder: string;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'katafleet-run-'));
    await mkdir(join(folder, 'dir'));
    await writeFile(join(folder, 'dir/a.txt'), 'a\n');
    await symlink('dir', join(folder, 'link'));
  });
  after(() => rm(folder, { recursive: true, force: true }));

  it('hands a pipe on as standard input, and a file, and the file that --stdin names', async () => {
    assert.deepEqual(await shell('printf hello | katafleet run -q dir -- cat', folder), { code: 0, stdout: 'hello', stderr: '' });
    assert.deepEqual(await shell('katafleet run -q dir -- cat < dir/a.txt', folder), { code: 0, stdout: 'a\n', stderr: '' });
    assert.deepEqual(await shell('printf x | katafleet run -q link --stdin dir/a.txt -- cat - a.txt', folder), {
      code: 0,
      stdout: 'a\na\n',
      stderr: '',
    });
  });

  it('prints bytes that are no text, and gives them in base64 beside the text of --json', async () => {
    const { stdout } = await shell(`katafleet run --json dir -- printf '\\377ok'`, folder);
    const [step] = (JSON.parse(stdout) as { steps: { stdout: string; stdoutBase64?: string; stderrBase64?: string }[] }).steps;
    assert.equal(step?.stdout, '\ufffdok');
    assert.deepEqual(Buffer.from(step.stdoutBase64 ?? '', 'base64'), Buffer.from([0xff, 0x6f, 0x6b]));
    assert.equal(step.stderrBase64, undefined);
  });

  it('ends without a word when nobody reads any more, and leaves no container', async () => {
    const { code, stdout, stderr } = await shell('katafleet run dir -t 60s -- yes | head -n 1', folder);
    assert.deepEqual([code, stdout], [141, 'y\n']);
    assert.doesNotMatch(stderr, /EPIPE|katafleet:|at /);
    const { stdout: left } = await exec('docker', ['ps', '-aq', '--filter', 'label=katafleet.owner', '--filter', 'status=running']);
    assert.equal(left, '');
  });

  it('takes a folder that has the manifest.json of something else', async () => {
    const site = join(folder, 'site');
    await mkdir(site);
    await writeFile(join(site, 'manifest.json'), '{"name": "My page", "icons": []}');
    assert.deepEqual(await shell('katafleet run -q site -- cat manifest.json', folder), {
      code: 0,
      stdout: '{"name": "My page", "icons": []}',
      stderr: '',
    });
    await writeFile(join(site, 'manifest.json'), '{"image_name": 1}');
    const { code, stderr } = await shell('katafleet run -q site -- true', folder);
    assert.equal(code, 64);
    assert.match(stderr, /manifest\.json is not a start-point's manifest: display_name: .*\[recipe\.invalid, user\]/);
  });

  it('begins from the configured default profile, and options stand above it', async () => {
    await writeFile(join(folder, 'katafleet.yaml'), 'profiles: { default: { memory: 96m, pids: 30 } }\n');
    const pids = (options: string) =>
      shell(`katafleet run -q ${options} dir -- sh -c 'cat /sys/fs/cgroup/pids.max /sys/fs/cgroup/pids/pids.max 2>/dev/null'`, folder);
    assert.equal((await pids('')).stdout.trim(), '30');
    assert.equal((await pids('--pids 40')).stdout.trim(), '40');
  });

  it('runs an image’s own command where no other is given', async () => {
    const { stdout: made } = await exec('docker', ['create', '--label', 'katafleet.test=cli', '-i', 'katafleet/build-essential', 'true']);
    const container = made.trim();
    const image = 'katafleet-test/own-command';
    try {
      await exec('docker', ['commit', '-c', 'ENTRYPOINT ["echo", "one"]', '-c', 'CMD ["two"]', container, image]);
      assert.deepEqual(await shell(`katafleet run -q -i ${image} dir`, folder), { code: 0, stdout: 'one two\n', stderr: '' });
      await mkdir(join(folder, 'kata'));
      await writeFile(join(folder, 'kata/cyber-dojo.sh'), 'echo kata');
      assert.equal((await shell(`katafleet run -q -i ${image} kata`, folder)).stdout, 'kata\n');
    } finally {
      await exec('docker', ['rm', '-f', container]);
      await exec('docker', ['rmi', '-f', image]);
    }
  });

  it('runs where --server says, large files and all', async () => {
    const serve = spawn(process.execPath, [main, 'serve', '--listen', '127.0.0.1:0', '--journal', join(folder, 'journal.db')], {
      cwd: join(folder, 'dir'),
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    try {
      const [line] = (await once(serve.stdout, 'data')) as [Buffer];
      const url = /http:\/\/\S+/.exec(line.toString())?.[0] ?? '';
      await mkdir(join(folder, 'large'));
      await writeFile(join(folder, 'large/big'), Buffer.alloc(3_000_000, 'x'));
      const { code, stdout } = await shell(
        `printf in | katafleet --server ${url} run --json large -- sh -c 'cat; wc -c < big; exit 3'`,
        folder,
      );
      const { id, steps } = JSON.parse(stdout) as { id: string; steps: { stdout: string }[] };
      assert.deepEqual([code, steps[0]?.stdout], [3, 'in3000000\n']);
      assert.equal(((await (await fetch(`${url}/v1/runs/${id}`)).json()) as { state: string }).state, 'finished');
      assert.equal((await shell(`KATAFLEET_SERVER=${url} katafleet run -q large -- echo there`, folder)).stdout, 'there\n');
      assert.match(
        (await shell(`katafleet --server ${url} run large`, folder)).stderr,
        /no command: a server does not give the command of an image/,
      );
    } finally {
      serve.kill('SIGTERM');
      await once(serve, 'close');
    }
  });

  it('says how to write a time that has no unit', async () => {
    const { code, stderr } = await shell('katafleet run -t 10 dir -- true', folder);
    assert.equal(code, 0);
    assert.match(stderr, /--timeout 10 is taken as 10s; say 10s or 10ms/);
  });
});
