import { Command } from 'commander';
import { listed } from '../../../base/listed.ts';
import { ago } from '../../../model/quantity.ts';
import { table } from '../../show/table.ts';
import type { KataShell } from './shell.ts';

export const listCommand = (shell: KataShell): Command =>
  new Command('list')
    .summary('list the katas and their avatars')
    .description('Lists the katas and their avatars.')
    .option('--json', 'print JSON')
    .action(async (options: { json?: boolean }) => {
      const found = await shell.open().list();
      if (options.json) shell.json(found.map(({ kata: record, avatars }) => ({ ...record, avatars })));
      else if (found.length === 0) shell.say(`no katas in ${shell.folder}: katafleet kata create START_POINT`);
      else {
        const rows = found.map(({ kata: { id, created, manifest }, avatars }) => [
          id,
          manifest.display_name,
          manifest.image_name,
          ago(Date.parse(created), Date.now()),
          listed(avatars, 8, { separator: ' ' }) || '-',
        ]);
        shell.say(table(['KATA', 'START-POINT', 'IMAGE', 'AGE', 'AVATARS'], rows));
      }
    });
