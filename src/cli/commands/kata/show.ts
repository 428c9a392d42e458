import type { Command } from 'commander';
import { outputJson } from '../../../model/json.ts';
import { showTest } from '../../show/kata-view.ts';
import { avatarCommand, type KataShell, parseCount } from './shell.ts';

export const showCommand = (shell: KataShell): Command =>
  avatarCommand(
    'show',
    'show a test: its output, its outcome and the changed files',
    'Shows a test: its output, its outcome and the changed files.',
  )
    .argument('[test]', 'number of the test (default: the last)')
    .action(async (id: string, avatar: string, test: string | undefined, options: { json?: boolean }) => {
      const shown = await shell.open().show(id, avatar, test === undefined ? undefined : parseCount('test', test));
      if (options.json) shell.json({ ...shown.record, ...outputJson('stdout', shown.stdout), ...outputJson('stderr', shown.stderr) });
      else await showTest(shown);
    });
