import assert from 'node:assert/strict';
import { join } from 'node:path';
import fc from 'fast-check';
import { decodePath } from '../../../src/model/paths.ts';
import type { RunRequest, SandboxFolder } from '../../../src/model/request.ts';
import type { KataFiles, WholeFile } from '../../../src/katas/kata-files.ts';
import { created, file, git, result, startPoint, testStore } from '../../support/katas.ts';

/** Files and empty folders as plain values, in order. */
const plain = (files: Iterable<[string, { mode?: number | undefined; mtimeNs?: bigint | undefined; content?: unknown }]>) =>
  [...files]
    .map(([path, { mode, mtimeNs, content }]) => [path, mode, mtimeNs, Buffer.from((content ?? '') as Uint8Array).toString('hex')] as const)
    .sort(([a], [b]) => (a < b ? -1 : 1));
const ofSandbox = ({ files, folders }: KataFiles) => [plain(files), plain(folders)];
const ofRequest = ({ files, folders = [] }: RunRequest) => [
  plain(files.map((each) => [each.path, each])),
  plain(folders.map((each) => [each.path, each])),
];

describe('what goes into a kata comes out as it was', () => {
  let store: Awaited<ReturnType<typeof testStore>>;
  beforeEach(async () => (store = await testStore()));
  afterEach(() => store.dispose());

  async function roundTrip(files: WholeFile[], folders: SandboxFolder[] = []): Promise<void> {
    const { katas, folder, requests } = store;
    const { id } = await katas.create(startPoint());
    await (
      await katas.test(id, 'lion', { files, folders })
    ).committed;
    const given = [plain(files.map((each) => [each.path, each])), plain(folders.map((each) => [each.path, each]))];
    assert.deepEqual(ofSandbox(await katas.files(id, 'lion')), given, 'from the repository');
    const other = await testStore({ folder });
    await (
      await other.katas.test(id, 'lion', undefined)
    ).committed;
    assert.deepEqual(ofRequest(other.requests[0] ?? requests[0] ?? assert.fail()), given, 'into the next sandbox');
    await other.katas.close();
    await git(join(folder, id, 'avatars/lion/repository.git'), 'fsck', '--strict', '--no-dangling');
  }

  it('names of every kind', async () => {
    const names = [
      'sp ace',
      `q"'\\`,
      'new\nline',
      'tab\t',
      'ünï☃',
      '-rf',
      '--',
      'a/b/c/d/e',
      '\udcff\udc80',
      'x\udcff.c',
      '__proto__',
      'constructor',
      ' lead',
      'trail ',
      '*?[',
      '.gitignore',
      'd/.gitattributes',
      'HEAD',
      ':(top)x',
    ];
    await roundTrip(names.map((path) => file(path)));
  });

  it('case-only neighbours, exec bits, binary and empty contents, odd modes, times before 1970 and to the nanosecond', async () => {
    await roundTrip(
      [
        file('readme', 'a'),
        file('README', 'b'),
        file('run.sh', 'c', { mode: 0o755 }),
        file('odd', 'd', { mode: 0o601 }),
        file('set', 'e', { mode: 0o4711 }),
        file('binary', Buffer.from(Array.from({ length: 256 }, (_, byte) => byte))),
        file('empty', ''),
        file('old', 'f', { mtimeNs: -1_000_000_001n }),
        file('far', 'g', { mtimeNs: 9_000_000_000_999_999_999n }),
      ],
      [
        { path: 'hollow', mode: 0o755, mtimeNs: 1n },
        { path: 'deep/hollow', mode: 0o700, mtimeNs: 2n },
      ],
    );
  });

  it('a rename of case only, a folder replaced by a file and back, a folder that becomes empty', async () => {
    const { katas, script } = store;
    const { id } = await katas.create(startPoint());
    const steps: WholeFile[][] = [
      [file('readme'), file('d/a'), file('d/b')],
      [file('README'), file('d', 'flat')],
      [file('readme'), file('d/a', 'again')],
    ];
    for (const files of steps) {
      await (
        await katas.test(id, 'lion', { files })
      ).committed;
      assert.deepEqual(ofSandbox(await katas.files(id, 'lion'))[0], plain(files.map((each) => [each.path, each])));
    }
    script.run = async () => result({ deleted: ['d/a'], folders: [{ path: 'd', mode: 0o755, mtimeNs: 5n }] });
    await (
      await katas.test(id, 'lion', undefined)
    ).committed;
    assert.deepEqual([...(await katas.files(id, 'lion')).folders.keys()], ['d']);
    for (const [index, files] of steps.entries()) {
      const then = await katas.files(id, 'lion', { test: index + 1 });
      assert.deepEqual(ofSandbox(then)[0], plain(files.map((each) => [each.path, each])), `test ${index + 1}`);
    }
  });

  it('any sequence of edits and of changes by tools', async function () {
    this.timeout(180_000);
    const { katas, requests, script } = store;
    const part = fc.constantFrom('a', 'b', 'A', 'c d', decodePath(Buffer.from([0xff])), 'é');
    const path = fc.array(part, { minLength: 1, maxLength: 3 }).map((parts) => parts.join('/'));
    const bytes = fc.uint8Array({ maxLength: 6 }).map((each) => Buffer.from(each));
    const edit = fc.record({
      path,
      bytes,
      mode: fc.constantFrom(0o644, 0o755),
      mtimeNs: fc.bigInt({ min: 0n, max: 2n ** 62n }),
      by: fc.constantFrom('person', 'tool'),
      drop: fc.boolean(),
    });
    let number = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(fc.array(edit, { maxLength: 6 }), { minLength: 1, maxLength: 4 }), async (rounds) => {
        const { id } = await katas.create(startPoint({}, [file('cyber-dojo.sh')]), `k${(number += 1)}`);
        /** The folder as a disk would have it. */
        const disk = new Map<string, WholeFile>([['cyber-dojo.sh', file('cyber-dojo.sh')]]);
        const removeBelow = (at: string) =>
          [...disk.keys()].filter((other) => other.startsWith(`${at}/`)).map((other) => (disk.delete(other), other));
        const write = (each: WholeFile): string[] => {
          const gone = removeBelow(each.path);
          for (let slash = each.path.indexOf('/'); slash > 0; slash = each.path.indexOf('/', slash + 1))
            if (disk.delete(each.path.slice(0, slash))) gone.push(each.path.slice(0, slash));
          disk.set(each.path, each);
          return gone;
        };
        for (const edits of rounds) {
          for (const { by, drop, path: at, bytes: content, mode, mtimeNs } of edits) {
            if (by !== 'person') continue;
            if (drop) disk.delete(at);
            else write({ path: at, content, mode, mtimeNs });
          }
          const before = new Map(disk);
          const deleted = new Set<string>();
          for (const { by, drop, path: at, bytes: content, mode, mtimeNs } of edits) {
            if (by !== 'tool') continue;
            if (drop) {
              if (disk.delete(at)) deleted.add(at);
            } else write({ path: at, content, mode, mtimeNs }).forEach((gone) => deleted.add(gone));
          }
          const files = [...disk.values()]
            .filter((each) => before.get(each.path) !== each)
            .map((each) => ({
              ...created(each.path, each.content, each.mode, each.mtimeNs),
              change: before.has(each.path) ? ('changed' as const) : ('created' as const),
            }));
          script.run = async () => result({ files, deleted: [...deleted].filter((gone) => before.has(gone) && !disk.has(gone)) });
          await katas.test(id, 'lion', { files: [...before.values()] });
          assert.deepEqual(ofRequest(requests.at(-1) ?? assert.fail())[0], plain(before), 'what was tested');
        }
        const last = await katas.test(id, 'lion', undefined);
        await last.committed;
        assert.deepEqual(ofRequest(requests.at(-1) ?? assert.fail())[0], plain(disk), 'what the next test starts from');
        const shown = await katas.files(id, 'lion', { test: rounds.length });
        assert.deepEqual(plain(shown.files), plain(disk), 'what git has');
      }),
      { numRuns: 40 },
    );
  });
});
