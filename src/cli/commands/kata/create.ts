import { Command } from 'commander';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { inPackage } from '../../../base/package-folder.ts';
import type { KataShell } from './shell.ts';

/** The start-points that come with katafleet, the same from src/ and from dist/. */
const startPoints = inPackage('start-points/');

export const createCommand = (shell: KataShell): Command =>
  new Command('create')
    .summary('create a kata from a start-point')
    .description('Creates a kata from a start-point and prints its id.')
    .argument(
      '<start-point>',
      'a folder with a manifest.json and optionally a kata.yaml, or the name of a start-point that comes with katafleet',
    )
    .option('--id <id>', 'id of the kata (default: a random one)')
    .option('--json', 'print JSON')
    .action(async (startPoint: string, options: { id?: string; json?: boolean }) => {
      const made = await shell.open().create(startPointAt(startPoint), options.id);
      if (options.json) shell.json(made);
      else shell.say(made.id);
    });

/** Returns the folder of a start-point. @throws kata.invalid */
function startPointAt(given: string): string {
  const own = join(startPoints, given);
  return !existsSync(join(given, 'manifest.json')) && /^[\w-]+$/.test(given) && existsSync(own) ? own : given;
}
