import { Command } from 'commander';
import type { KataShell } from './shell.ts';

export const importCommand = (shell: KataShell): Command =>
  new Command('import')
    .summary('import a kata from a git bundle')
    .description('Imports a kata from a git bundle and prints its id.')
    .argument('<bundle>', 'the file')
    .option('--id <id>', 'id of the imported kata (default: the one in the bundle)')
    .option('--json', 'print JSON')
    .action(async (file: string, options: { id?: string; json?: boolean }) => {
      const taken = await shell.open().import(file, options.id);
      if (options.json) shell.json(taken);
      else shell.say(taken.id);
    });
