import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

let folder: string;

/** Runs the check over sources with these texts, by their paths. Returns its exit code, and its lines without the folder. */
function check(sources: Readonly<Record<string, string>>): { code: number | null; faults: string[] } {
  for (const [path, text] of Object.entries(sources)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), text);
  }
  const { status, stderr } = spawnSync(process.execPath, ['scripts/lib/check-names.mjs', folder], { encoding: 'utf8' });
  return { code: status, faults: stderr.replaceAll(`${folder}/`, '').split('\n').filter(Boolean) };
}

describe('the check of names and imports', () => {
  beforeEach(() => (folder = mkdtempSync(join(tmpdir(), 'katafleet-names-'))));
  afterEach(() => rmSync(folder, { recursive: true }));

  it('passes sources that declare each type once and import in one direction', () => {
    const found = check({
      'a.ts': "import { b } from './deep/b.ts';\nexport interface Task { id: string }\nexport const a = b;\n",
      'deep/b.ts': 'export type Job = string;\nexport const Task = 1;\nexport const b = 2;\n',
    });
    assert.deepEqual(found, { code: 0, faults: [] });
  });

  it('names the files that declare the same type, exported or not, of whatever kind', () => {
    const found = check({
      'a.ts': 'interface Task { id: string }\nexport class Door {}\n',
      'b.ts': 'export type Task = string;\n',
      'deep/c.ts': 'type Door = 1;\n',
    });
    assert.deepEqual(found, {
      code: 1,
      faults: [
        'the type name Task is declared in a.ts, b.ts: give each its own name, or share one',
        'the type name Door is declared in a.ts, deep/c.ts: give each its own name, or share one',
      ],
    });
  });

  it('names the files of a circle, also where only types are imported or one is imported when it is needed', () => {
    const found = check({
      'a.ts': "import type { B } from './b.ts';\nexport type A = B;\n",
      'b.ts': "export type B = 1;\nexport const later = () => import('./deep/c.ts');\n",
      'deep/c.ts': "export * from '../a.ts';\n",
    });
    assert.deepEqual(found, {
      code: 1,
      faults: ['these files import each other in a circle: a.ts -> b.ts -> deep/c.ts -> a.ts'],
    });
  });
});
