import type { Command } from 'commander';
import { defined } from '../../../base/defined.ts';
import { parseLimits } from '../../../config/limits.ts';
import { exitCodeOf } from '../../exit-code.ts';
import { readFolder } from '../../files/folder.ts';
import { sayNotWritten, writeBack } from '../../files/write-back.ts';
import { interruptible } from '../../interrupt.ts';
import { limitOption, onOwnProfile, onProfile, profileNamed, profileOption, refuseBeside } from '../../profile.ts';
import { notesOf } from '../../show/kata-view.ts';
import { asJson, report } from '../../show/report.ts';
import { outputTo } from '../../show/terminal.ts';
import { configOf, fleetOf, runningServer } from '../../where.ts';
import { avatarCommand, type KataShell } from './shell.ts';

export const testCommand = (shell: KataShell): Command =>
  avatarCommand(
    'test',
    'test an avatar’s files, and store the files and the result',
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
          const where = shell.at();
          const server = await runningServer(where);
          const config = server || where.endpoint !== undefined ? undefined : configOf(where);
          const limits = parseLimits(options.limit ?? []);
          const { profile } = options;
          // A fault in the limits must end the command before the test is recorded.
          if (server && profile !== undefined) refuseBeside(profile, limits);
          const usual = server || profile === undefined ? undefined : profileNamed(profile, config);
          await using fleet = server ? undefined : fleetOf(where, config);
          await using katas = shell.open((request, { signal: ending, onOutput, of }) => {
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
            shell.json({
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
