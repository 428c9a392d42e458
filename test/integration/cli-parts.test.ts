import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Script } from 'node:vm';
import { commands } from '../../src/cli/commands.ts';

const exec = promisify(execFile);
const dist = new URL('../../dist/', import.meta.url);
const main = fileURLToPath(new URL('main.js', dist));

describe('the built command line', () => {
  it('has the help of every command', async () => {
    const helps = await Promise.all(commands.map(({ name }) => exec(process.execPath, [main, name, '--help'])));
    for (const [index, { stdout, stderr }] of helps.entries()) {
      assert.match(stdout, new RegExp(`^Usage: katafleet ${commands[index]?.name} `));
      assert.equal(stderr, '');
    }
  });

  it('tells of every command in one process, for shells that complete them', async () => {
    const { stdout } = await exec(process.execPath, [main, 'completion', 'bash']);
    for (const { name } of commands) assert.ok(stdout.includes(name), name);
  });

  it('carries nothing of the service in the part that run is in', async () => {
    const run = await readFile(new URL('bundle/run.cjs', dist), 'utf8');
    const carried = ['fastify', 'better-sqlite3', 'docker-compose'].filter((name) => run.includes(`node_modules/${name}/`));
    assert.deepEqual(carried, []);
    assert.doesNotMatch(run, /\/\/ src\/(http|store|deploy|daemon)/);
  });

  it('gives each package the version of another that it would be given without a bundle', async () => {
    const ours = createRequire(import.meta.url);
    for (const from of [ours, createRequire(ours.resolve('tar-fs'))]) {
      const file = relative(fileURLToPath(new URL('..', dist)), from.resolve('tar-stream'));
      for (const part of ['run.cjs', 'commands.cjs'])
        assert.ok((await readFile(new URL(`bundle/${part}`, dist), 'utf8')).includes(`// ${file}\n`), `${part}: ${file}`);
    }
  });

  it('has for each part the code that V8 takes', async () => {
    const parts = (await readdir(new URL('bundle/', dist))).filter((name) => name.endsWith('.cjs'));
    assert.deepEqual(parts.toSorted(), ['commander.cjs', 'commands.cjs', 'program.cjs', 'run.cjs']);
    for (const part of parts) {
      const source = await readFile(new URL(`bundle/${part}`, dist), 'latin1');
      const cachedData = await readFile(new URL(`bundle/${part}.${process.platform}-${process.arch}.code`, dist));
      // As the launcher wraps it.
      const script = new Script(`(function (exports, require, module, __filename, __dirname) {${source}\n})`, { cachedData });
      assert.equal(script.cachedDataRejected, false, part);
    }
  });
});
