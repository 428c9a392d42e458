import { namesGitFolder } from '../../katas/names.ts';

/**
 * Why a file of a sandbox's program is not written to the user's folder. The user's tools execute such files without being asked, as
 * soon as the user enters the folder or types `git status` there. No list of those files would be complete (.envrc, .vscode, .bashrc,
 * .mise.toml, .cargo/config.toml, …), but by convention their names begin with a dot. A file that only runs when the user starts it,
 * such as a Makefile, is written.
 */
export type WithheldReason = 'git' | 'dotfile';

/** Code points that HFS+ ignores when it compares names. */
const ignoredByHfs = /[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]/g;
/**
 * Content that git accepts in the HEAD of a repository (setup.c, validate_headref). A folder with `refs` and `objects` beside such a
 * HEAD is a repository.
 */
const headOfRepository = /^(ref:\s|[0-9a-f]{40})/;

/** Returns why a file must not be written, or a path must not be deleted; undefined if it may. `content` is given for files. */
export function whyWithheld(path: string, content?: Uint8Array): WithheldReason | undefined {
  if (namesGitFolder(path)) return 'git';
  const parts = path.split(/[/\\]/).map((part) => part.replace(ignoredByHfs, ''));
  if (content && /^head$/i.test(parts.at(-1) ?? '') && headOfRepository.test(Buffer.from(content.subarray(0, 64)).toString('latin1')))
    return 'git';
  return parts.some((part) => part.startsWith('.')) ? 'dotfile' : undefined;
}
