import { defined } from '../../base/defined.ts';
import '../short-lived.ts';
import { Command } from 'commander';
import type { z } from 'zod';
import { listed } from '../../base/listed.ts';
import { KatafleetError } from '../../model/errors.ts';
import { parseLimits } from '../../config/limits.ts';
import { byItself } from '../../model/limit-words.ts';
import type { Profile } from '../../model/profile.ts';
import { parseBytes, parseDuration } from '../../model/quantity.ts';
import type { RunRequest, RunOptions } from '../../model/request.ts';
import { readManifest } from '../../images/start-point.ts';
import type { Katafleet } from '../../app/library.ts';
import { exitCodeOf } from '../exit-code.ts';
import { readFolder } from '../files/folder.ts';
import { interruptible } from '../interrupt.ts';
import { asJson, report } from '../show/report.ts';
import { serverNotices, voidAttempts } from '../show/server-notices.ts';
import { limitOption, profileNamed, profileOption, withProfile } from '../profile.ts';
import { readInput } from '../files/stdin.ts';
import { escapeControls, outputTo } from '../show/terminal.ts';
import { sayNotWritten, writeBack } from '../files/write-back.ts';
import { type At, configOf, fleetOf, namedServer } from '../where.ts';

interface RunFlags {
  image?: string;
  memory?: string;
  cpus?: string;
  pids?: string;
  shm?: string;
  timeout?: string;
  cpuTime?: string;
  output?: string;
  limit?: string[];
  profile?: string;
  out?: string;
  back?: string[];
  json?: boolean;
  quiet?: boolean;
  stdin?: string;
  allowDotfiles?: boolean;
  withGit?: boolean;
  patience?: string;
}

/** How long `--server` is tried if `--patience` does not say. */
const usualPatience = '5m';

export function runCommand(at: At): Command {
  return new Command('run')
    .description('Runs CMD on a copy of the files of DIR in a fresh, memory-limited container. Never writes to DIR itself.')
    .argument('<dir>', 'folder with the files')
    .argument('[cmd...]', "the command and its arguments, after -- (default: the image's own)")
    .option(
      '-i, --image <name>',
      'name of a recipe, or any image on the node (default: the one in DIR/manifest.json, else build-essential)',
    )
    .option('-m, --memory <size>', `memory of the sandbox, its files included, such as 256m (default: ${byItself('memory')})`)
    .option('--cpus <number>', `number of CPUs, such as 0.5 (default: ${byItself('cpus')})`)
    .option('--pids <number>', `processes and threads at once (default: ${byItself('pids')})`)
    .option('--shm <size>', `shared memory (/dev/shm), a part of the sandbox's memory; 0 for none (default: ${byItself('shm')})`)
    .option('-t, --timeout <time>', `longest time, such as 10s or 500ms (default: ${byItself('wallMs')})`)
    .option('--cpu-time <time>', 'longest CPU time (default: no limit)')
    .option('--output <size>', `bytes kept of stdout and of stderr, such as 64k (default: ${byItself('stdout')})`)
    .addOption(limitOption())
    .addOption(profileOption('default'))
    .option('-o, --out <folder>', 'write created and changed files here, and delete what was deleted')
    .option(
      '--allow-dotfiles',
      'let -o write files whose names begin with a dot, except .git; shells, editors and tools may execute such files',
    )
    .option('--with-git', 'send .git folders too')
    .option(
      '--back <glob>',
      'bring back only files that match, such as results.xml or out/; may be repeated',
      (glob: string, all: string[] | undefined) => [...(all ?? []), glob],
    )
    .option('--json', 'print one JSON document, files included, and nothing else')
    .option('-q, --quiet', "print the program's output only")
    .option('--stdin <file>', 'standard input of CMD; - for the standard input of katafleet (default: that, if it is a pipe or a file)')
    .option('--patience <time>', `how long to go on while the server does not answer or has no room (default: ${usualPatience})`)
    .action(async (dir: string, command: string[], options: RunFlags) => {
      const tell = (text: string) => {
        if (!options.json && !options.quiet) process.stderr.write(`katafleet: ${escapeControls(text)}\n`);
      };
      const where = at();
      const server = namedServer(where);
      const patienceMs = parseDuration(options.patience ?? usualPatience);
      // A server uses its own configuration.
      const config = where.endpoint === undefined && !server ? configOf(where) : undefined;
      const usual = server ? undefined : profileNamed(options.profile, config);
      const request = await requestOf(dir, command, options, usual, tell);
      const stdin = await readInput(options.stdin, tell);
      const print = { stdout: outputTo(process.stdout), stderr: outputTo(process.stderr) };
      await interruptible(async (signal) => {
        const place = server ? { server } : { fleet: fleetOf(where, config) };
        await using _closed = place.fleet;
        const whole = await withCommand(place.fleet, request, dir);
        const [first, ...rest] = whole.steps;
        const asked = { ...whole, steps: first && stdin ? [{ ...first, stdin }, ...rest] : whole.steps };
        const told = serverNotices(tell, (text) => process.stderr.write(`katafleet: ${escapeControls(text)}\n`));
        const { onAttempt, printed } = voidAttempts(told);
        const onOutput: RunOptions['onOutput'] = (_step, stream, bytes) => {
          printed();
          return print[stream](bytes);
        };
        const how: RunOptions = { signal, ...(options.json ? {} : { onOutput }) };
        const result = await (place.fleet
          ? place.fleet.run(asked, { ...how, onAttempt })
          : place.server.run(withProfile(asked, options.profile), { ...how, patienceMs, onNotice: told }));
        const left = options.out === undefined ? [] : await writeBack(options.out, result.changes, { dotfiles: options.allowDotfiles });
        if (options.json)
          process.stdout.write(`${JSON.stringify({ ...asJson(result), ...(left.length > 0 ? { notWritten: left } : {}) })}\n`);
        else if (!options.quiet) report(result, options.out, result.changes, sayNotWritten(left));
        process.exitCode = exitCodeOf(result.outcome);
      });
    });
}

async function requestOf(
  dir: string,
  command: string[],
  options: RunFlags,
  usual: Profile | undefined,
  tell: (text: string) => void,
): Promise<RunRequest> {
  const { files, folders, skipped, repositories } = await readFolder(dir, { git: options.withGit });
  if (repositories.length > 0) tell(`${listed(repositories, 5)} left out (--with-git sends it)`);
  if (skipped.length > 0) tell(`left out, for they are no plain files: ${listed(skipped, 5)}`);
  const manifest = options.image === undefined ? await readManifest(dir, 'or another kind') : undefined;
  return {
    image: options.image ?? manifest?.image_name ?? 'build-essential',
    files,
    folders,
    profile: {
      ...usual,
      ...(manifest?.max_seconds === undefined ? {} : { wallMs: manifest.max_seconds * 1000 }),
      ...limitsOf(options, tell),
    },
    ...defined({ back: options.back }),
    steps: command.length > 0 ? [{ argv: command }] : [],
  };
}

/** Returns the limits of the options; `--limit` overrides a short option. @throws limits.invalid */
function limitsOf(options: RunFlags, tell: (text: string) => void): z.input<typeof Profile> {
  const number = (name: string, text: string) => {
    if (!/^\d+(\.\d+)?$/.test(text)) throw new KatafleetError('limits.invalid', `${name}: "${text}" is not a number`);
    return Number(text);
  };
  const time = (name: string, text: string) => {
    const ms = parseDuration(text);
    if (/\d$/.test(text.trim())) tell(`${name} ${text} is taken as ${text}s; say ${text}s or ${text}ms: a later release refuses it`);
    return ms;
  };
  const given = (text: string | undefined, parse: (text: string) => number) => (text === undefined ? undefined : parse(text));
  const output = given(options.output, parseBytes);
  const said = parseLimits(options.limit ?? []);
  return {
    ...defined({
      memory: given(options.memory, parseBytes),
      cpus: given(options.cpus, (text) => number('cpus', text)),
      pids: given(options.pids, (text) => number('pids', text)),
      shm: given(options.shm, parseBytes),
      wallMs: given(options.timeout, (text) => time('--timeout', text)),
      cpuMs: given(options.cpuTime, (text) => time('--cpu-time', text)),
      stdout: output,
      stderr: output,
    }),
    ...said,
  };
}

/** Adds the command to a request without one: that of the image's recipe, else the folder's cyber-dojo.sh, else the image's own. */
async function withCommand(fleet: Katafleet | undefined, request: RunRequest, dir: string): Promise<RunRequest> {
  if (request.steps.length > 0) return request;
  const { command, imageCommand } = fleet ? await fleet.commandsOf(request.image) : {};
  const kata = request.files.some(({ path }) => path === 'cyber-dojo.sh') ? ['bash', './cyber-dojo.sh'] : undefined;
  const argv = command ?? kata ?? imageCommand;
  if (argv) return { ...request, steps: [{ argv: [...argv] }] };
  throw new KatafleetError(
    'request.invalid',
    `no command: ${fleet ? `the image ${request.image} has none` : 'a server does not give the command of an image'} and ${dir} holds no cyber-dojo.sh`,
    {
      hint: `katafleet run ${dir} -- make test`,
    },
  );
}
