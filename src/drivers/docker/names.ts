import { gidIn, groupLine, holdsUids, parseUids, passwdLines, sandboxGid, type Uids, uidsInWords, sandboxUser } from '../../model/users.ts';
import { labels } from '../../model/labels.ts';

/** An image's passwd and group files: empty if it has none; undefined for one that is not a plain file, which stays as it is. */
export interface Accounts {
  passwd: string | undefined;
  group: string | undefined;
}

/** Whether an image has a user name for every uid of a range; its label names the range that it has. */
export function namesAll(own: Readonly<Record<string, string>>, uids: Uids): boolean {
  const named = parseUids(own[labels.uids] ?? '');
  return labels.user in own || (named !== undefined && holdsUids(named, uids));
}

/**
 * Returns the passwd and group files of an adapted image, and the labels that describe them. An image with cyber-dojo's user was made
 * for that user and has files of it, so its programs still run under that uid. In katafleet's own recipes no file belongs to that user,
 * so they use the range.
 */
export function adaptedAccounts(
  { passwd, group }: Accounts,
  own: Readonly<Record<string, string>>,
  uids: Uids,
): Accounts & { labels: Record<string, string> } {
  const gid = labels.recipe in own ? undefined : gidIn(passwd ?? '', sandboxUser.uid);
  const line = (text: string) => (text === '' || text.endsWith('\n') ? text : `${text}\n`);
  const known = group?.split('\n').some((one) => one.split(':')[2] === String(sandboxGid));
  return {
    // In front, so that the name belongs to a uid of the range.
    passwd: passwd === undefined ? undefined : passwdLines(uids) + line(passwd),
    group: group === undefined ? undefined : line(group) + (known ? '' : groupLine),
    labels: {
      [labels.uids]: uidsInWords(uids),
      ...(gid === undefined ? {} : { [labels.user]: `${sandboxUser.uid}:${gid}` }),
    },
  };
}
