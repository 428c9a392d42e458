import type { Command } from 'commander';
import { logTable } from '../../show/kata-view.ts';
import { avatarCommand, type KataShell, parseCount } from './shell.ts';

export const logCommand = (shell: KataShell): Command =>
  avatarCommand('log', 'list an avatar’s tests, newest first', 'Lists an avatar’s tests, newest first.')
    .option('-n, --number <count>', 'number of tests to show, the last ones', '50')
    .action(async (id: string, avatar: string, options: { json?: boolean; number: string }) => {
      const most = parseCount('number', options.number);
      const entries = await shell.open().log(id, avatar, 2 * most + 1);
      if (options.json) shell.json(entries.map((entry) => ({ ...entry, at: new Date(entry.at).toISOString() })));
      else shell.say(logTable(entries, most));
    });
