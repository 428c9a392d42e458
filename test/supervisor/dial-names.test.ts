import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DialHost } from '../support/dial-host.ts';
import { Dialler } from '../support/dialler.ts';
import { eventually } from '../support/eventually.ts';
import { answer, NameServer, type Question, record } from '../support/name-server.ts';

const key = randomBytes(32);
const server = '127.77.5.1';
const second = '127.77.5.2';
const here = '127.77.5.3';

describe('supervisor: names that it dials', function () {
  let folder: string;
  before(async function () {
    if (process.getuid?.() !== 0) this.skip(); // files are laid over /etc's in a mount namespace, and port 53 is root's
    folder = await mkdtemp(join(tmpdir(), 'katafleet-names-'));
  });
  after(() => (folder === undefined ? undefined : rm(folder, { recursive: true })));

  /** Dials a name, where /etc/resolv.conf and /etc/hosts are these. */
  async function dials(name: string, { configuration = `nameserver ${server}\n`, hosts = '' } = {}): Promise<Dialler> {
    await writeFile(join(folder, 'resolv.conf'), configuration);
    await writeFile(join(folder, 'hosts'), hosts);
    const script = `mount --bind "$0/resolv.conf" /etc/resolv.conf && mount --bind "$0/hosts" /etc/hosts && exec "$@"`;
    return Dialler.start(name, key, { before: ['unshare', '--mount', '--propagation', 'private', 'sh', '-c', script, folder] });
  }

  async function reaches(host: DialHost, supervisor: Dialler): Promise<void> {
    await (await (await host.caller()).admit()).hello();
    supervisor.child.kill('SIGTERM');
    assert.equal(await supervisor.exit, 0);
    assert.doesNotMatch(supervisor.stderr, /Sanitizer|runtime error/);
  }

  it('asks the nameserver, with another id each time, and dials what it says now', async () => {
    let address = '127.77.5.99';
    await using names = await NameServer.listen(server, (question) => [answer(question, [record(address)])]);
    await using host = await DialHost.listen(key, here);
    await using supervisor = await dials(`katafleet.example:${host.port}`);
    await eventually('it has asked three times', 20, async () => assert.ok(names.questions.length >= 3));
    address = here;
    await reaches(host, supervisor);
    assert.deepEqual(new Set(names.questions.map(({ name }) => name)), new Set(['katafleet.example']));
    assert.ok(new Set(names.questions.map(({ id }) => id)).size > 1);
  });

  it('tries each address of a name, behind an alias too', async () => {
    const alias = Buffer.concat([Buffer.from([0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 60, 0, 4]), Buffer.from('\x01x\xc0\x0c', 'latin1')]);
    await using names = await NameServer.listen(server, (question) => [
      answer(question, [alias, record('127.77.5.98'), record(here), record('127.77.5.99')]),
    ]);
    await using host = await DialHost.listen(key, here);
    await using supervisor = await dials(`katafleet:${host.port}`);
    await reaches(host, supervisor);
    assert.ok(names.questions.length > 0);
  });

  it('looks into /etc/hosts first', async () => {
    await using names = await NameServer.listen(server, () => []);
    await using host = await DialHost.listen(key, here);
    const hosts = `# ${here} commented\n::1 katafleet\n${'x'.repeat(10_000)} katafleet\n127.77.5.9 katafleet.example\n${here}\tother KataFleet # it\n`;
    await using supervisor = await dials(`katafleet:${host.port}`, { hosts });
    await reaches(host, supervisor);
    assert.equal(names.questions.length, 0);
  });

  it('goes through the domains of the configuration, and to the next server where one is silent, absent or cannot tell', async () => {
    const answers = (question: Question) => [
      question.name === 'katafleet.second.example' ? answer(question, [record(here)]) : answer(question, [], { flags: 0x8183 }),
    ];
    for (const first of [() => [], (question: Question) => [answer(question, [], { flags: 0x8182 })], undefined]) {
      await using _silent = first && (await NameServer.listen(server, first));
      await using names = await NameServer.listen(second, answers);
      await using host = await DialHost.listen(key, here);
      const configuration = `; comment\noptions ndots:0\nnameserver nonsense\nnameserver ${server}\nnameserver ${second}\nsearch first.example second.example\n`;
      await using supervisor = await dials(`katafleet:${host.port}`, { configuration });
      await reaches(host, supervisor);
      const asked = names.questions.map(({ name }) => name);
      assert.deepEqual(asked.slice(0, 3), ['katafleet', 'katafleet.first.example', 'katafleet.second.example']);
    }
  });

  it('takes nothing from an answer that is not to its question, nor from a broken one, and the right one behind it', async () => {
    const wrong = record('127.77.5.97');
    const part = (bytes: Buffer, length: number) => bytes.subarray(0, length);
    const hostile = (question: Question): Buffer[] => {
      const other = { ...question, bytes: Buffer.from(question.bytes) };
      other.bytes.write('x', 1);
      const good = answer(question, [wrong]);
      return [
        Buffer.alloc(0),
        Buffer.from([1]),
        randomBytes(400),
        Buffer.alloc(2000, 0xff),
        part(good, 12),
        part(good, 20),
        answer({ ...question, id: question.id ^ 1 }, [wrong]),
        answer(other, [wrong]),
        answer(question, [wrong], { flags: 0x0100 }),
        answer(question, [wrong], { flags: 0xa180 }),
        answer(question, [record(here)]),
      ];
    };
    await using names = await NameServer.listen(server, hostile);
    await using strangers = await DialHost.listen(key, here);
    await using trap = await DialHost.listen(key, '127.77.5.97', strangers.port);
    await using supervisor = await dials(`katafleet:${strangers.port}`);
    await reaches(strangers, supervisor);
    assert.deepEqual([names.questions.length, trap.calls], [1, 0]);
  });

  it('an answer that breaks off or lies about its lengths is no answer: the next one is asked', async () => {
    const loop = Buffer.from([0xc0, 12]);
    const tails: Buffer[] = [
      loop,
      Buffer.from([63]),
      Buffer.alloc(300, 63),
      Buffer.from([0x80, 0, 0, 1, 0, 1]),
      record(here).subarray(0, 11),
      record(here).subarray(0, 15),
      Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1]),
      Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 3, 127, 0, 0]),
    ];
    for (const tail of tails) {
      await using names = await NameServer.listen(server, (question) => [answer(question, [tail], { count: 0xffff })]);
      await using good = await NameServer.listen(second, (question) => [answer(question, [record(here)])]);
      await using host = await DialHost.listen(key, here);
      await using supervisor = await dials(`katafleet:${host.port}`, { configuration: `nameserver ${server}\nnameserver ${second}\n` });
      await reaches(host, supervisor);
      assert.deepEqual([names.questions.length, good.questions.length], [1, 1]);
    }
  });

  it('an answer with more addresses than it can use, and cut off, is used as far as it goes', async () => {
    const many = Array.from({ length: 40 }, () => record(here));
    await using _names = await NameServer.listen(server, (question) => [answer(question, many, { flags: 0x8380 })]);
    await using host = await DialHost.listen(key, here);
    await using supervisor = await dials(`katafleet:${host.port}`);
    await reaches(host, supervisor);
  });

  it('asks again and again for an unknown name, and obeys SIGTERM while a server is silent', async () => {
    let known = false;
    await using names = await NameServer.listen(server, (question) => (known ? [] : [answer(question, [], { flags: 0x8183 })]));
    await using supervisor = await dials('katafleet.example:7421');
    await eventually('it has asked three times', 20, async () => assert.ok(names.questions.length >= 3));
    assert.match(supervisor.stderr, /^supervisor: no connection to katafleet: the name has no address\n$/);
    known = true;
    const before = names.questions.length;
    await eventually('it waits for an answer', 20, async () => assert.ok(names.questions.length > before));
    supervisor.child.kill('SIGTERM');
    assert.equal(await supervisor.exit, 0);
  });
});
