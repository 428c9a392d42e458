import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { api } from '../support/api.ts';

const project = fileURLToPath(new URL('../../', import.meta.url));
const run = promisify(execFile);

/** The first example in TypeScript of a page. */
function exampleOf(page: string): string {
  const [, example = assert.fail(`${page} has no example`)] = /```ts\n([^]*?)```/.exec(readFileSync(join(project, page), 'utf8')) ?? [];
  return example;
}

/** What katafleet/client needs of other packages, its types included. */
const forClient = ['zod', '@types', 'undici-types'];

describe('the package, installed elsewhere', function () {
  this.timeout(180_000); // tsc on a busy machine
  let folder: string;
  let archive: string;
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'katafleet-package-'));
    const { stdout } = await run('npm', ['pack', '--ignore-scripts', '--json', '--pack-destination', folder], { cwd: project });
    const [{ filename } = assert.fail('nothing was packed')] = JSON.parse(stdout) as { filename: string }[];
    archive = join(folder, filename);
  });
  after(() => rmSync(folder, { recursive: true }));

  /** A project of a user's own with katafleet in it and no other packages than these, which are ours. */
  async function projectWith(name: string, packages: readonly string[]): Promise<string> {
    const place = join(folder, name);
    const modules = join(place, 'node_modules');
    mkdirSync(join(modules, 'katafleet'), { recursive: true });
    await run('tar', ['-xzf', archive, '-C', join(modules, 'katafleet'), '--strip-components=1']);
    for (const one of packages) symlinkSync(join(project, 'node_modules', one), join(modules, one));
    writeFileSync(join(place, 'package.json'), JSON.stringify({ type: 'module' }));
    return place;
  }

  /** Compiles a program of that project; its JavaScript lies beside it. */
  async function compile(place: string, text: string): Promise<string> {
    writeFileSync(join(place, 'program.ts'), text);
    const options = ['--module', 'nodenext', '--target', 'es2023', '--lib', 'es2023,esnext.disposable', '--types', 'node'];
    const tsc = join(project, 'node_modules/typescript/bin/tsc');
    await run(process.execPath, [tsc, ...options, '--strict', '--skipLibCheck', 'program.ts'], { cwd: place }).catch((failed: unknown) =>
      assert.fail(`tsc refuses it:\n${(failed as { stdout: string }).stdout}`),
    );
    return join(place, 'program.js');
  }

  it('has a client whose example in docs/client.md compiles and runs, with zod as its only dependency', async () => {
    const place = await projectWith('client', forClient);
    const program = await compile(place, exampleOf('docs/client.md'));
    const { listen, fleet, driver, close } = await api(['a']);
    driver('a').tags.push('katafleet/build-essential:latest');
    await fleet.refreshImages();
    try {
      const env = { ...process.env, KATAFLEET_SERVER: await listen() };
      const { stdout, stderr } = await run(process.execPath, [program], { cwd: place, env });
      assert.equal(stderr, '');
      assert.match(stdout, /^outcome: exited /m);
      assert.match(stdout, /^state: finished$/m);
    } finally {
      await close();
    }
  });

  it('has a library with whose types the example in README.md compiles', async () => {
    const all = readdirSync(join(project, 'node_modules')).filter((name) => !name.startsWith('.') && name !== 'katafleet');
    const place = await projectWith('library', all);
    await compile(place, exampleOf('README.md'));
  });
});
