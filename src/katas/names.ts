import { z } from 'zod';
import { KatafleetError } from '../model/errors.ts';

/** A kata's id, which is also the name of its folder. Cyber-dojo's ids are valid (six letters and digits, case matters). */
export const KataId = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$/, 'must be 1 to 63 letters, digits, _ or -, no - or _ first');

/** An avatar's name, which is also a folder and a branch of an exported kata. It is lower case, because some file systems ignore case. */
export const AvatarName = z.string().regex(/^[a-z0-9][a-z0-9-]{0,62}$/, 'must be 1 to 63 lower-case letters, digits or -, no - first');

/** The branch with the start-point in an exported kata. No avatar may have this name. */
export const startBranch = 'start-point';

/** Returns a valid kata id. @throws kata.invalid */
export function kataId(text: string): string {
  return checked(KataId, text, 'a kata’s id');
}

/** Returns a valid avatar name. @throws kata.invalid */
export function avatarName(text: string): string {
  if (text === startBranch)
    throw new KatafleetError('kata.invalid', `no avatar may be named ${startBranch}: exports keep the start-point there`);
  return checked(AvatarName, text, 'an avatar’s name');
}

function checked(schema: z.ZodString, text: string, what: string): string {
  const parsed = schema.safeParse(text);
  if (parsed.success) return text;
  throw new KatafleetError('kata.invalid', `${what} ${parsed.error.issues[0]?.message ?? 'is not valid'}, got ${JSON.stringify(text)}`);
}

/** Code points that HFS+ ignores when it compares names: git's utf8.c, next_hfs_char. */
const ignoredByHfs = /[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]/g;
/** Names that NTFS treats as `.git`: the short name, trailing dots and spaces, a stream. Git's path.c, is_ntfs_dotgit. */
const ntfsGit = /^(\.git|git~1)[. ]*(:|$)/i;

/**
 * Whether a part of a path is `.git` for some file system: its author could make a clone with such a path run any program. The rules
 * are those of git's core.protectHFS and core.protectNTFS; a backslash counts as a `/`.
 */
export function namesGitFolder(path: string): boolean {
  return path.split(/[/\\]/).some((part) => ntfsGit.test(part) || part.replace(ignoredByHfs, '').toLowerCase() === '.git');
}
