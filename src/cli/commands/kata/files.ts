import type { Command } from 'commander';
import { readdir } from 'node:fs/promises';
import type { KataFiles } from '../../../katas/kata-files.ts';
import { KatafleetError } from '../../../model/errors.ts';
import { sayNotWritten, writeBack } from '../../files/write-back.ts';
import { filesJson, filesTable, sorted } from '../../show/kata-view.ts';
import { avatarCommand, type KataShell, parseCount } from './shell.ts';

export const filesCommand = (shell: KataShell): Command =>
  avatarCommand('files', 'list an avatar’s files, or write them into a folder', 'Lists an avatar’s files, or writes them into a folder.')
    .option('-o, --out <folder>', 'write the files into this folder; it must be empty or missing')
    .option('-t, --test <number>', 'the files as they were after this test')
    .option('--allow-dotfiles', 'write files whose names begin with a dot; shells, editors and tools may execute such files')
    .option('-a, --all', 'hidden files too, which tools made')
    .action(
      async (
        id: string,
        avatar: string,
        options: { json?: boolean; out?: string; test?: string; all?: boolean; allowDotfiles?: boolean },
      ) => {
        const sandbox = await shell.open().files(id, avatar, {
          ...(options.test === undefined ? {} : { test: parseCount('test', options.test) }),
          hidden: options.all ?? false,
        });
        for (const line of options.out === undefined ? [] : await writeFolder(options.out, sandbox, options.allowDotfiles))
          shell.trouble(line);
        if (options.json) shell.json(filesJson(sandbox));
        else if (options.out === undefined) shell.say(filesTable(sandbox));
      },
    );

/** Writes an avatar's files into an empty folder. Returns what was left out, in words. @throws output.unwritable */
async function writeFolder(folder: string, { files, folders }: KataFiles, dotfiles?: boolean): Promise<string[]> {
  const there = await readdir(folder).catch(() => []);
  if (there.length > 0)
    throw new KatafleetError('output.unwritable', `${folder} is not empty: the next test would take its files as the avatar's`, {
      hint: 'name a folder that is empty or missing',
    });
  const whole = {
    files: sorted(files).map(([path, { mode, mtimeNs, content = Buffer.alloc(0) }]) => ({
      change: 'created' as const,
      path,
      mode,
      mtimeNs,
      content: Buffer.from(content),
    })),
    folders: sorted(folders).map(([path, { mode, mtimeNs }]) => ({ path, mode, mtimeNs })),
    deleted: [],
  };
  return sayNotWritten(await writeBack(folder, whole, { dotfiles }));
}
