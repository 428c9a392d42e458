import { defined } from '../../base/defined.ts';
import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Command } from 'commander';
import { inPackage } from '../../base/package-folder.ts';
import { listed } from '../../base/listed.ts';
import { KatafleetError } from '../../model/errors.ts';
import type { RunTest } from '../../katas/avatar-test.ts';
import type { KataFiles } from '../../katas/kata-files.ts';
import { Katas } from '../../katas/store.ts';
import { outputJson } from '../../model/json.ts';
import { parseLimits } from '../../config/limits.ts';
import { exitCodeOf } from '../exit-code.ts';
import { readFolder } from '../files/folder.ts';
import { interruptible } from '../interrupt.ts';
import { filesJson, filesTable, logTable, notesOf, showTest, sorted } from '../show/kata-view.ts';
import { limitOption, onOwnProfile, onProfile, profileNamed, profileOption, refuseBeside } from '../profile.ts';
import { asJson, report } from '../show/report.ts';
import { ago } from '../../model/quantity.ts';
import { table } from '../show/table.ts';
import { escapeControls, outputTo } from '../show/terminal.ts';
import { type At, configOf, fleetOf, runningServer } from '../where.ts';
import { sayNotWritten, writeBack } from '../files/write-back.ts';

/** The start-points that come with katafleet, the same from src/ and from dist/. */
const startPoints = inPackage('start-points/');

export function kataCommand(at: At): Command {
  const kata = new Command('kata')
    .description('Katas: exercises. The work of each participant is stored in git, with two commits for each test.')
    .option('--store <folder>', 'folder of the katas (default: KATAFLEET_KATAS, else katas.folder of the configuration)');
  const folder = () => kata.opts<{ store?: string }>().store ?? (process.env['KATAFLEET_KATAS'] || configOf(at()).katas.folder);
  const trouble = (text: string) => process.stderr.write(`katafleet: ${escapeControls(text)}\n`);
  const openKatas = (run: RunTest = () => Promise.reject(new KatafleetError('internal', 'this command runs nothing'))) =>
    new Katas({ folder: folder(), run, trouble });
  const json = (value: unknown) => process.stdout.write(`${JSON.stringify(value)}\n`);
  const say = (text: string) => process.stdout.write(`${text}\n`);

  kata
    .command('create')
    .description('Creates a kata from a start-point and prints its id.')
    .argument(
      '<start-point>',
      'a folder with a manifest.json and optionally a kata.yaml, or the name of a start-point that comes with katafleet',
    )
    .option('--id <id>', 'id of the kata (default: a random one)')
    .option('--json', 'print JSON')
    .action(async (startPoint: string, options: { id?: string; json?: boolean }) => {
      const made = await openKatas().create(startPointAt(startPoint), options.id);
      if (options.json) json(made);
      else say(made.id);
    });

  kata
    .command('list')
    .description('Lists the katas and their avatars.')
    .option('--json', 'print JSON')
    .action(async (options: { json?: boolean }) => {
      const found = await openKatas().list();
      if (options.json) json(found.map(({ kata: record, avatars }) => ({ ...record, avatars })));
      else if (found.length === 0) say(`no katas in ${folder()}: katafleet kata create START_POINT`);
      else {
        const rows = found.map(({ kata: { id, created, manifest }, avatars }) => [
          id,
          manifest.display_name,
          manifest.image_name,
          ago(Date.parse(created), Date.now()),
          listed(avatars, 8, { separator: ' ' }) || '-',
        ]);
        say(table(['KATA', 'START-POINT', 'IMAGE', 'AGE', 'AVATARS'], rows));
      }
    });

  avatarCommand('test', 'tests an avatar’s files, and stores the files and the result')
    .description(
      'Takes the files of DIR as the avatar’s, runs the tests on them, and writes the files that the tools made or changed back into DIR. Without DIR it tests the avatar’s files as they are. The first test creates the avatar.',
    )
    .argument('[dir]', 'folder with all files that the person sees; a file that is missing there is deleted')
    .option('--no-write', 'leave DIR as it is')
    .addOption(limitOption())
    .addOption(profileOption('the server’s default; without a server none'))
    .option('--allow-dotfiles', 'write files whose names begin with a dot; shells, editors and tools may execute such files')
    .option('-q, --quiet', "print the program's output only")
    .action(
      async (
        id: string,
        avatar: string,
        dir: string | undefined,
        options: { json?: boolean; write: boolean; quiet?: boolean; allowDotfiles?: boolean; limit?: string[]; profile?: string },
      ) => {
        await interruptible(async (signal) => {
          // A running server keeps the avatar's sandbox between tests.
          const where = at();
          const server = await runningServer(where);
          const config = server || where.endpoint !== undefined ? undefined : configOf(where);
          const limits = parseLimits(options.limit ?? []);
          const { profile } = options;
          // A fault in the limits must end the command before the test is recorded.
          if (server && profile !== undefined) refuseBeside(profile, limits);
          const usual = server || profile === undefined ? undefined : profileNamed(profile, config);
          await using fleet = server ? undefined : fleetOf(where, config);
          await using katas = openKatas((request, { signal: ending, onOutput, of }) => {
            const how = defined({ signal: ending, onOutput });
            return server
              ? server.run({ ...(profile === undefined ? request : onProfile(request, profile)), session: `${of.kata}/${of.avatar}` }, how)
              : (fleet ?? fleetOf(where, config)).run(usual ? onOwnProfile(request, usual, limits) : request, how);
          });
          const print = { stdout: outputTo(process.stdout), stderr: outputTo(process.stderr) };
          const tested = await katas.test(id, avatar, dir === undefined ? undefined : await readFolder(dir), {
            signal,
            profile: limits,
            ...(options.json ? {} : { onOutput: (_step, stream, bytes) => print[stream](bytes) }),
          });
          const out = dir !== undefined && options.write ? dir : undefined;
          const left = out === undefined ? [] : await writeBack(out, tested.shown, { dotfiles: options.allowDotfiles });
          process.exitCode = exitCodeOf(tested.result.outcome);
          // Reports the result before the commits: on a full disk they are slow, or fail.
          if (!options.json && !options.quiet) report(tested.result, out, tested.shown, [...notesOf(tested), ...sayNotWritten(left)]);
          const commits = await tested.committed.catch((error: unknown) => {
            if (!options.json) throw error;
            return null; // the JSON reports it as a trouble
          });
          if (options.json) {
            const { hidden, ignored, test } = tested;
            json({
              kata: id,
              avatar,
              test,
              ...asJson(tested.result, tested.shown),
              hidden,
              ignored,
              commits,
              ...(left.length > 0 ? { notWritten: left } : {}),
            });
          }
        });
      },
    );

  avatarCommand('log', 'lists an avatar’s tests, newest first')
    .option('-n, --number <count>', 'number of tests to show, the last ones', '50')
    .action(async (id: string, avatar: string, options: { json?: boolean; number: string }) => {
      const most = whole('number', options.number);
      const entries = await openKatas().log(id, avatar, 2 * most + 1);
      if (options.json) json(entries.map((entry) => ({ ...entry, at: new Date(entry.at).toISOString() })));
      else say(logTable(entries, most));
    });

  avatarCommand('show', 'shows a test: its output, its outcome and the changed files')
    .argument('[test]', 'number of the test (default: the last)')
    .action(async (id: string, avatar: string, test: string | undefined, options: { json?: boolean }) => {
      const shown = await openKatas().show(id, avatar, test === undefined ? undefined : whole('test', test));
      if (options.json) json({ ...shown.record, ...outputJson('stdout', shown.stdout), ...outputJson('stderr', shown.stderr) });
      else await showTest(shown);
    });

  avatarCommand('files', 'lists an avatar’s files, or writes them into a folder')
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
        const sandbox = await openKatas().files(id, avatar, {
          ...(options.test === undefined ? {} : { test: whole('test', options.test) }),
          hidden: options.all ?? false,
        });
        for (const line of options.out === undefined ? [] : await writeFolder(options.out, sandbox, options.allowDotfiles)) trouble(line);
        if (options.json) json(filesJson(sandbox));
        else if (options.out === undefined) say(filesTable(sandbox));
      },
    );

  kata
    .command('export')
    .description('Writes a kata, or one avatar of it, into a git bundle, for git clone or katafleet kata import.')
    .argument('<kata>', 'its id')
    .argument('[avatar]', 'only this one')
    .option('-o, --out <file>', 'the bundle (default: KATA.bundle)')
    .action(async (id: string, avatar: string | undefined, options: { out?: string }) => {
      const file = options.out ?? `${id}.bundle`;
      await openKatas().export(id, file, avatar);
      say(file);
    });

  kata
    .command('import')
    .description('Imports a kata from a git bundle and prints its id.')
    .argument('<bundle>', 'the file')
    .option('--id <id>', 'id of the imported kata (default: the one in the bundle)')
    .option('--json', 'print JSON')
    .action(async (file: string, options: { id?: string; json?: boolean }) => {
      const taken = await openKatas().import(file, options.id);
      if (options.json) json(taken);
      else say(taken.id);
    });

  function avatarCommand(name: string, summary: string): Command {
    return kata
      .command(name)
      .summary(summary)
      .description(`${summary.charAt(0).toUpperCase()}${summary.slice(1)}.`)
      .argument('<kata>', 'its id')
      .argument('<avatar>', 'its name: lower-case letters, digits and -')
      .option('--json', 'print JSON');
  }
  return kata;
}

/** Returns the folder of a start-point. @throws kata.invalid */
function startPointAt(given: string): string {
  const own = join(startPoints, given);
  return !existsSync(join(given, 'manifest.json')) && /^[\w-]+$/.test(given) && existsSync(own) ? own : given;
}

function whole(name: string, text: string): number {
  if (/^[1-9]\d{0,8}$/.test(text)) return Number(text);
  throw new KatafleetError('request.invalid', `${name}: expected a number from 1, got ${JSON.stringify(text)}`);
}

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
