// Writes the fuzzer's first inputs: whole conversations, one of each kind of frame, handshakes and nameservers' answers.
// Run: npx tsx test/fuzz/seeds.ts
import { writeFileSync } from 'node:fs';
import { encodeAnswer } from '../../src/protocol/dial.ts';
import { encodeFrame, hostFrame } from '../../src/protocol/frames.ts';
import { compileGlobs } from '../../src/model/glob.ts';
import {
  encodeBack,
  encodeData,
  encodeDelete,
  encodeDir,
  encodeExec,
  encodeFile,
  encodeOpen,
  encodeStdin,
} from '../../src/protocol/requests.ts';
import { challenge, dialFrame, frame, welcome } from '../support/dial-host.ts';
import { payloadOf, sentinelNonce } from '../support/dialer.ts';
import { anExecution } from '../support/execution.ts';
import { answer, record } from '../support/name-server.ts';

const uid = process.getuid?.() || 41966;
const open = encodeOpen({ uid, gid: uid, lifetimeMs: 1000, filesBack: 5, fileBack: 100, bytesBack: 200 });
const entry = (path: string) => ({ path: Buffer.from(path), mode: 0o644, mtimeNs: 1_700_000_000_123_456_789n });
const file = (path: string, content: string) => [encodeFile(entry(path), content.length), ...encodeData(Buffer.from(content))];
const small = { wallMs: 10, stdout: 1, stderr: 1, fileSize: 10, openFiles: 20, stack: 1 << 20 };
const exec = encodeExec(
  anExecution({ ...small, collect: true, cpuMs: 5, stdout: 10, stderr: 100, processes: 3, cwd: '/', argv: ['a', 'b'], env: ['A=b'] }),
);
const tails = encodeExec(anExecution({ ...small, step: 2, collect: true, tails: { stdout: 7, stderr: 9 }, argv: ['a'] }));
const seeds: Record<string, (Buffer | undefined)[]> = {
  open: [open],
  files: [open, ...file('a', 'hello'), ...file('d/e/f', ''), ...file('d/e', 'now a file')],
  folders: [
    open,
    encodeDir(entry('d')),
    encodeDir(entry('d/e')),
    ...file('d/e/f', 'x'),
    encodeDelete(Buffer.from('d')),
    encodeFrame(hostFrame.collect),
  ],
  exec: [open, encodeStdin(3), ...encodeData(Buffer.from('in\n')), exec, encodeFrame(hostFrame.collect)],
  tails: [open, tails, ...file('a', 'b'), tails, encodeFrame(hostFrame.collect)],
  back: [
    open,
    encodeBack(compileGlobs(['*.xml', 'out/', '[!a-c]?{d,é}'])),
    ...file('a.xml', 'x'),
    ...file('b', 'x'),
    exec,
    encodeDelete(Buffer.from('b')),
    encodeFrame(hostFrame.list),
    encodeFrame(hostFrame.collect),
    encodeBack([]),
  ],
  baseline: [
    open,
    ...file('a', 'hello'),
    encodeDir(entry('d')),
    encodeFrame(hostFrame.baseline),
    encodeFrame(hostFrame.list),
    encodeFrame(hostFrame.collect),
  ],
  control: [encodeFrame(hostFrame.ping, Buffer.from('x')), open, encodeFrame(hostFrame.kill), encodeFrame(hostFrame.close)],
};
// As images/supervisor/fuzz.c has them: the key, the task's nonce, and the question.
const key = Buffer.from(Array.from({ length: 32 }, (_, i) => i));
const nonces = { host: Buffer.alloc(32, 0xaa), task: Buffer.alloc(32, 0xbb) };
const welcomed = (version: number, nonce: Buffer) => {
  const payload = payloadOf(encodeAnswer(key, nonces.host, nonce, { service: '', secret: '', task: '', node: '' }, version));
  return welcome(key, { version, nonce, payload }, challenge(nonces.host, 1, version), 1000);
};
const question = { id: 0x6b66, name: 'katafleet.example', bytes: Buffer.from('\x09katafleet\x07example\0\0\x01\0\x01', 'latin1') };
const alias = Buffer.concat([Buffer.from([0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 60, 0, 4]), Buffer.from('\x01x\xc0\x0c', 'latin1')]);
Object.assign(seeds, {
  'handshake-welcome': [Buffer.from('H'), challenge(nonces.host), welcomed(2, nonces.task), open],
  'handshake-welcome-1': [Buffer.from('H'), challenge(nonces.host, 1, 1), welcomed(1, sentinelNonce), open],
  'handshake-refused': [Buffer.from('H'), challenge(nonces.host), frame(dialFrame.refused, Buffer.from([2, 0, 1, 0x6e]))],
  'dns-addresses': [Buffer.from('D'), answer(question, [alias, record('10.0.0.1'), record('10.0.0.2')])],
  'dns-unknown': [Buffer.from('D'), answer(question, [], { flags: 0x8183 })],
} satisfies typeof seeds);
for (const [name, frames] of Object.entries(seeds)) {
  writeFileSync(new URL(`./supervisor/${name}`, import.meta.url), Buffer.concat(frames.filter((frame) => frame !== undefined)));
}
