import { namesGitFolder } from '../../katas/names.ts';

/**
 * What a program in a sandbox may not put into a person's folder: files that tools of the person's run unasked, the moment somebody
 * enters the folder or says `git status` there. No list of them is ever complete (.envrc, .vscode, .bashrc, .mise.toml,
 * .cargo/config.toml, …), but by their convention their names begin with a dot. What only runs when a person says so, such as a
 * Makefile, is theirs to look at.
 */
export type KeptBack = 'git' | 'dotfile';

/** Code points that HFS+ leaves out when it compares names. */
const ignoredByHfs = /[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]/g;
/** What git takes for the HEAD of a repository: setup.c, validate_headref. With `refs` and `objects` beside it, any folder is one. */
const headOfRepository = /^(ref:\s|[0-9a-f]{40})/;

/** Why a file may not be written, or a path deleted; undefined where it may. `content` where there is one. */
export function keptBack(path: string, content?: Uint8Array): KeptBack | undefined {
  if (namesGitFolder(path)) return 'git';
  const parts = path.split(/[/\\]/).map((part) => part.replace(ignoredByHfs, ''));
  if (content && /^head$/i.test(parts.at(-1) ?? '') && headOfRepository.test(Buffer.from(content.subarray(0, 64)).toString('latin1')))
    return 'git';
  return parts.some((part) => part.startsWith('.')) ? 'dotfile' : undefined;
}
