import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  rmSync,
} from 'node:fs';
import { symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const project = fileURLToPath(new URL('../../', import.meta.url));

describe('katafleet on the PATH', () => {
  let [folder, clone, shared, link] = ['', '', '', ''];
  /** Node alone of the folder in which it lies, where a real katafleet may lie as well. */
  let system: string[];
  beforeEach(() => {
    folder = realpathSync(mkdtempSync(join(tmpdir(), 'katafleet-path-')));
    [clone, shared] = [join(folder, 'a clone'), join(folder, 'shared')];
    link = join(shared, 'katafleet');
    system = [join(folder, 'node'), '/usr/bin', '/bin'];
    for (const each of [join(clone, 'bin'), join(clone, 'dist'), join(folder, 'node'), shared]) mkdirSync(each, { recursive: true });
    symlinkSync(process.execPath, join(folder, 'node/node'));
    cpSync(join(project, 'bin/katafleet'), join(clone, 'bin/katafleet'));
    writeFileSync(join(clone, 'dist/main.js'), "console.log(['ran', ...process.argv.slice(2)].join(' '));\n");
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  function shell(script: string, path = system): { status: number | null; stdout: string; stderr: string } {
    const env = { ...process.env, PATH: path.join(':'), ROOT: clone, FOLDER: shared };
    // Without an input: a first shell whose input is a socket, as that of a pipe of Node's is, reads the machine's bashrc.
    const stdio = ['ignore', 'pipe', 'pipe'] as const;
    return spawnSync('bash', ['-euo', 'pipefail', '-c', script], { cwd: '/', encoding: 'utf8', env, stdio: [...stdio] });
  }
  /** What quickstart says at its end, for a machine whose shared folder of programs is `shared`. */
  function offer(path = [shared, ...system]): string {
    const libraries = ['messages', 'path'].map((name) => `. '${project}scripts/lib/${name}.sh'`).join('; ');
    const { status, stdout, stderr } = shell(`${libraries}; offer_katafleet "$ROOT" "$FOLDER"`, path);
    assert.deepEqual([status, stdout], [0, ''], stderr);
    return stderr.trim();
  }
  const line = /^to have katafleet on your PATH, in this shell: (export PATH=.*)$/;

  it('is a link to the clone, and the message says how to remove it', () => {
    assert.equal(offer(), `katafleet is on your PATH: ${link} leads to ${clone}/bin/katafleet. To undo this: rm ${link}`);
    assert.equal(shell('katafleet run "a b"', [shared, ...system]).stdout, 'ran run a b\n');
    assert.equal(offer(), 'katafleet is on your PATH', 'the second time');
    rmSync(link);
    assert.match(offer(), /leads to/);
  });

  it('is a line to type where no folder of the PATH can be used', () => {
    const [, typed = ''] = line.exec(offer(system)) ?? [];
    assert.ok(!existsSync(link));
    assert.equal(shell(`${typed}; katafleet --version`).stdout, 'ran --version\n');
  });

  it('takes the place of no other program', () => {
    const other = join(folder, 'other');
    mkdirSync(other);
    writeFileSync(join(other, 'katafleet'), '#!/bin/sh\n');
    chmodSync(join(other, 'katafleet'), 0o755);
    assert.match(offer([other, shared, ...system]), line);
    assert.match(offer([shared, other, ...system]), line);
    cpSync(join(other, 'katafleet'), link);
    chmodSync(link, 0o644);
    assert.match(offer(), line, 'a file that is no program');
    assert.equal(readFileSync(link, 'utf8'), '#!/bin/sh\n');
    rmSync(link);
    symlinkSync('/nonexistent/program', link);
    assert.match(offer(), line, 'a broken link that is not katafleet’s');
  });

  it('takes the place of a link to a clone that is gone', () => {
    symlinkSync('/nonexistent/bin/katafleet', link);
    assert.match(offer(), /leads to/);
    assert.equal(readlinkSync(link), join(clone, 'bin/katafleet'));
  });

  it('is no link where others could change the program', () => {
    for (const open of [clone, join(clone, 'bin')]) {
      chmodSync(open, 0o777);
      assert.match(offer(), line, open);
      chmodSync(open, 0o755);
    }
    assert.ok(!existsSync(link));
  });

  it('says how a clone is built that is not', () => {
    rmSync(join(clone, 'dist/main.js'));
    const { status, stderr } = shell(`'${clone}/bin/katafleet' doctor`);
    assert.equal(status, 1);
    assert.equal(stderr, `katafleet: ${clone} is not built; run ${clone}/scripts/quickstart, or npm run build there\n`);
  });

  it('is a link again when the set-up of a server is undone, which had put its own command there', () => {
    offer();
    const owner = '$(id -un):$(id -gn)';
    const script = `DRY=no; CHANGES='${folder}/state/changes'; . '${project}scripts/lib/changes.sh'
      echo command | put_file '${link}' 755 "${owner}"; cat '${link}'; undo_changes`;
    const { status, stdout, stderr } = spawnSync('sh', ['-c', script], { encoding: 'utf8' });
    assert.equal(status, 0, stderr);
    assert.match(stdout, /^command$/m);
    assert.ok(lstatSync(link).isSymbolicLink());
    assert.equal(readlinkSync(link), join(clone, 'bin/katafleet'));
    assert.equal(shell('katafleet help', [shared, ...system]).stdout, 'ran help\n');
  });

  it('is what quickstart and README have people type', () => {
    assert.match(readFileSync(`${project}scripts/quickstart`, 'utf8'), /^offer_katafleet "\$root" \/usr\/local\/bin$/m);
    assert.match(readFileSync(`${project}README.md`, 'utf8'), /^\$ katafleet run images\/gcc-assert\/start_point$/m);
  });
});
