import { gidIn, groupLine, holdsUids, parseUids, passwdLines, sandboxGid, type Uids, uidsInWords, sandboxUser } from '../../model/users.ts';
import { labels } from '../../model/labels.ts';

/** What an image has for passwd and group: empty where it has none, undefined for what is no plain file and stays as it is. */
export interface Accounts {
  passwd: string | undefined;
  group: string | undefined;
}

/** Whether the programs of an image find a name for every uid of a range: its label says which it has. */
export function namesAll(own: Readonly<Record<string, string>>, uids: Uids): boolean {
  const named = parseUids(own[labels.uids] ?? '');
  return labels.user in own || (named !== undefined && holdsUids(named, uids));
}

/**
 * The files that an adapted image has over the other's, and labels that tell of them. An image that knows cyber-dojo's user
 * is made for it, and has files of that user's: its programs go on to be that one, unless it is a recipe of ours, whose files
 * are nobody's.
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
    // In front, so that the name stands for one of the range.
    passwd: passwd === undefined ? undefined : passwdLines(uids) + line(passwd),
    group: group === undefined ? undefined : line(group) + (known ? '' : groupLine),
    labels: {
      [labels.uids]: uidsInWords(uids),
      ...(gid === undefined ? {} : { [labels.user]: `${sandboxUser.uid}:${gid}` }),
    },
  };
}
