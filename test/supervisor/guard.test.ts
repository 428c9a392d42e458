import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { capabilities as ofSandboxes, markCapability } from '../../src/drivers/docker/isolation.ts';
import { staticProgram } from '../support/compile.ts';
import { capabilities, PipedSupervisor } from '../support/supervisor.ts';

const ability = { guard: 1024 };
const landlockCreateRuleset = '444'; // on every architecture
const contained = ['unshare', '--net', '--pid', '--fork', '--kill-child', '--mount-proc', '--propagation', 'private'];
const only = (...capabilities: string[]) => [
  ...['setpriv', '--bounding-set', ['-all', ...capabilities.map((name) => `+${name.toLowerCase()}`)].join(',')],
];
const asSandbox = only(...ofSandboxes);
const asMarked = only(...ofSandboxes, markCapability);
/** Takes its mark back, its shell's and its sibling's, and tells what came of it; and whether it can write elsewhere. */
const takesBack = [
  ...['sh', '-c'],
  'sleep 9 & for of in self $$ thread-self $!; do echo 0 > /proc/$of/oom_score_adj; done; cat /proc/self/oom_score_adj; echo x > f; cat f',
];

describe('supervisor: the mark for the kernel’s choice, on a kernel without Landlock', function () {
  let folder: string;
  let older: string[];
  before(async function () {
    if (process.getuid?.() !== 0) this.skip();
    folder = await mkdtemp(join(tmpdir(), 'katafleet-guard-'));
    const program = join(folder, 'without');
    await writeFile(program, await staticProgram('without'), { mode: 0o755 });
    older = [program, landlockCreateRuleset];
  });
  after(() => folder && rm(folder, { recursive: true }));

  async function marks(under: string[]) {
    await using supervisor = await PipedSupervisor.under(under);
    const { abilities } = await supervisor.conversation.hello();
    await supervisor.begin();
    const first = await supervisor.run(takesBack);
    const next = await supervisor.run(['cat', '/proc/self/oom_score_adj']);
    assert.equal(next.stdout.toString(), '1000\n', 'the supervisor marks the next step as well');
    return { guards: (abilities & ability.guard) !== 0, said: first.stdout.toString(), told: first.stderr.toString() };
  }

  it('a program can’t take it back where the supervisor may mount: /proc is read-only for it', async () => {
    const { guards, said, told } = await marks([...contained, ...older]);
    assert.deepEqual([guards, said], [true, '1000\nx\n']);
    assert.equal(told.match(/oom_score_adj: Read-only file system$/gm)?.length, 4, told);
  });

  it('where it may not, a program can, and the supervisor says so before the first run', async () => {
    const { guards, said } = await marks([...contained, ...older, ...asSandbox]);
    assert.deepEqual([guards, said], [false, '0\nx\n']);
  });

  it('where it has CAP_SYS_RESOURCE, a program can’t', async function () {
    const held = (await capabilities(process.pid)).get('CapEff') ?? 0n;
    if (((held >> 24n) & 1n) === 0n) this.skip(); // root in a container has it not
    const { guards, said, told } = await marks([...contained, ...older, ...asMarked]);
    assert.deepEqual([guards, said], [true, '1000\nx\n']);
    assert.equal(told.match(/Permission denied$/gm)?.length, 4, told);
  });

  it('in a user namespace the capability does not protect the mark: the supervisor does not claim it, and drops it', async () => {
    for (const [last, guards] of [
      [[...older, ...asMarked], false],
      [asMarked, undefined], // as the kernel has Landlock or not
    ] as const) {
      await using supervisor = await PipedSupervisor.under(['unshare', '--user', '--map-root-user', ...contained.slice(1), ...last]);
      const { abilities } = await supervisor.conversation.hello();
      if (guards !== undefined) assert.equal((abilities & ability.guard) !== 0, guards);
      const children = await readFile(`/proc/${supervisor.child.pid}/task/${supervisor.child.pid}/children`, 'utf8');
      const [pid] = children.split(' ');
      for (const [name, set] of await capabilities(Number(pid))) assert.equal((set >> 24n) & 1n, 0n, name);
    }
  });

  it('Landlock is what keeps it elsewhere', async function () {
    const { guards, said, told } = await marks([...contained, ...asSandbox]);
    if (!guards) this.skip(); // this kernel has none
    assert.equal(said, '1000\nx\n');
    assert.equal(told.match(/oom_score_adj: Permission denied$/gm)?.length, 4, told);
  });
});
