import { Command } from 'commander';
import type { At } from '../where.ts';
import { createCommand } from './kata/create.ts';
import { exportCommand } from './kata/export.ts';
import { filesCommand } from './kata/files.ts';
import { importCommand } from './kata/import.ts';
import { listCommand } from './kata/list.ts';
import { logCommand } from './kata/log.ts';
import { KataShell } from './kata/shell.ts';
import { showCommand } from './kata/show.ts';
import { testCommand } from './kata/run-test.ts';

/** In the order of the help. */
const commands = [createCommand, listCommand, testCommand, logCommand, showCommand, filesCommand, exportCommand, importCommand];

export function kataCommand(at: At): Command {
  const kata = new Command('kata')
    .description('Katas: exercises. The work of each participant is stored in git, with two commits for each test.')
    .option('--store <folder>', 'folder of the katas (default: KATAFLEET_KATAS, else katas.folder of the configuration)');
  const shell = new KataShell(at, () => kata.opts<{ store?: string }>().store);
  for (const create of commands) kata.addCommand(create(shell));
  return kata;
}
