import { Command } from 'commander';
import type { KataShell } from './shell.ts';

export const exportCommand = (shell: KataShell): Command =>
  new Command('export')
    .summary('write a kata, or one avatar of it, into a git bundle')
    .description('Writes a kata, or one avatar of it, into a git bundle, for git clone or katafleet kata import.')
    .argument('<kata>', 'its id')
    .argument('[avatar]', 'only this one')
    .option('-o, --out <file>', 'the bundle (default: KATA.bundle)')
    .action(async (id: string, avatar: string | undefined, options: { out?: string }) => {
      const file = options.out ?? `${id}.bundle`;
      await shell.open().export(id, file, avatar);
      shell.say(file);
    });
