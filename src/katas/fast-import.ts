import { encodePath } from '../model/paths.ts';
import type { Git } from './git.ts';
import { GitFailed } from './git.ts';

/** A commit to be made on the branch `main`, as changes to its parent. */
export interface CommitPlan {
  author: { name: string; email: string };
  /** Unix ms. */
  at: number;
  message: string;
  deletes: readonly string[];
  puts: readonly { path: string; executable?: boolean; content: Uint8Array | { oid: string } }[];
}

export const branch = 'refs/heads/main';
const committer = 'katafleet <katafleet@localhost>';

/**
 * Makes commits, one on top of another, with one `git fast-import`. It moves the branch once, at the end, when everything is on disk:
 * all commits are made or none. Returns their ids.
 * @param onto the parent of the first commit; absent in an empty repository
 * @throws kata.git, also if the branch is not at `onto`
 */
export async function importCommits(
  git: Git,
  repository: string,
  plans: readonly CommitPlan[],
  onto: string | undefined,
): Promise<string[]> {
  const args = ['fast-import', '--quiet', '--done', '--date-format=raw'];
  const output = await git.run(repository, args, { input: stream(plans, onto) });
  const oids = output.toString('ascii').trim().split('\n');
  if (oids.length !== plans.length) throw new GitFailed('fast-import', 0, `${oids.length} commits instead of ${plans.length}`);
  return oids;
}

function* stream(plans: readonly CommitPlan[], onto: string | undefined): Generator<Uint8Array> {
  for (const [index, plan] of plans.entries()) {
    const seconds = Math.floor(plan.at / 1000);
    const from = index > 0 ? `from :${index}\n` : onto === undefined ? '' : `from ${onto}\n`;
    const message = Buffer.from(plan.message);
    yield Buffer.from(
      `commit ${branch}\nmark :${index + 1}\nauthor ${plan.author.name} <${plan.author.email}> ${seconds} +0000\n` +
        `committer ${committer} ${seconds} +0000\ndata ${message.length}\n`,
    );
    yield message;
    yield Buffer.from(`\n${from}`);
    for (const path of plan.deletes) yield Buffer.from(`D ${quote(path)}\n`);
    for (const { path, executable, content } of plan.puts) {
      const mode = executable ? '100755' : '100644';
      if ('oid' in content) yield Buffer.from(`M ${mode} ${content.oid} ${quote(path)}\n`);
      else {
        yield Buffer.from(`M ${mode} inline ${quote(path)}\ndata ${content.length}\n`);
        yield content;
        yield Buffer.from('\n');
      }
    }
  }
  yield Buffer.from(`${plans.map((_plan, index) => `get-mark :${index + 1}\n`).join('')}done\n`);
}

/** Quotes a path for fast-import, byte by byte: line feeds, quotes and bytes that are not text become octal. */
export function quote(path: string): string {
  let quoted = '';
  for (const byte of encodePath(path)) {
    const plain = byte >= 0x20 && byte < 0x7f && byte !== 0x22 && byte !== 0x5c;
    quoted += plain ? String.fromCharCode(byte) : `\\${byte.toString(8).padStart(3, '0')}`;
  }
  return `"${quoted}"`;
}
