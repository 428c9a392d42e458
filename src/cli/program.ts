import { defined } from '../base/defined.ts';
import { readFileSync } from 'node:fs';
import { Command } from 'commander';
import { inPackage } from '../base/package-folder.ts';
import { endpointForms } from '../model/driver-kind.ts';
import { errorKinds, type KatafleetError, messageOf } from '../model/errors.ts';
import { nearest } from '../config/nearest.ts';
import { commands } from './commands.ts';
import { readersGone, watchReaders } from './files/readers.ts';
import { colours, escapeControls } from './show/terminal.ts';
import type { At } from './where.ts';

/**
 * Creates the command line. Each command has its own file, which is loaded only if the words contain the command's name; else its
 * summary is enough.
 */
export async function program(words: readonly string[] | 'all' = 'all'): Promise<Command> {
  const { version } = JSON.parse(readFileSync(inPackage('package.json'), 'utf8')) as { version: string };
  const root = new Command('katafleet')
    .description("Runs other people's code safely and at once on Docker hosts.")
    .version(version)
    .option('-H, --host <endpoint>', `use a single engine: ${endpointForms} (default: the configuration, else DOCKER_HOST)`)
    .option('-c, --config <file>', 'file of the configuration (default: KATAFLEET_CONFIG, ./katafleet.yaml, /etc/katafleet/katafleet.yaml)')
    .option('-s, --server <url>', 'use a running katafleet serve (default: KATAFLEET_SERVER, else the server of the configuration)')
    .showHelpAfterError('(katafleet --help shows how it is used)')
    .configureOutput({ outputError: (text, write) => write(`katafleet: ${text.replace(/^error: /, '')}`) })
    .exitOverride();
  const at: At = () => {
    const { host, config, server } = root.opts<{ host?: string; config?: string; server?: string }>();
    return defined({ endpoint: host, config, server });
  };
  // The completion script is generated from all other commands.
  const all = words === 'all' || words.includes('completion');
  for (const { name, usage, summary, load } of commands) {
    const meant = all || words.includes(name);
    const command = meant ? await load(at, root) : new Command(name).description(summary).usage(usage);
    root.addCommand(inherit(root, command.summary(summary)));
  }
  refuseUnknown(root);
  // A command that was not loaded has no arguments to show; its usage has them.
  root.configureHelp({ subcommandTerm: (command) => `${command.name()} ${command.usage()}` });
  return root;
}

function inherit(root: Command, command: Command): Command {
  command.copyInheritedSettings(root);
  refuseUnknown(command);
  for (const child of command.commands) inherit(root, child);
  return command;
}

/**
 * Makes an unknown command an error with the nearest name. By itself, commander counts it as an argument too many if the command before
 * it does something alone, as `images` does, and shows the help of all commands if `--help` comes after it.
 */
function refuseUnknown(command: Command): void {
  if (command.commands.length === 0 || command.registeredArguments.length > 0) return;
  command.helpCommand(true); // by itself only where the command does nothing alone
  command.allowExcessArguments().hook('preAction', (parent, acting) => {
    const [word] = parent.args;
    if (acting !== parent || word === undefined) return;
    const near = nearest(
      word,
      parent.commands.map((one) => one.name()),
    );
    const hint = near === undefined ? '' : `\n(Did you mean ${near}?)`;
    parent.error(`error: unknown command '${word}'${hint}`, { code: 'commander.unknownCommand' });
  });
  command.addHelpText('before', () => {
    const [word] = command.args.filter((given) => !['help', '--help', '-h'].includes(given));
    const known = command.commands.some((one) => one.name() === word || one.aliases().includes(word ?? ''));
    if (word !== undefined && !word.startsWith('-') && !known) command.parse([word], { from: 'user' });
    return '';
  });
}

/** Runs a command line and returns its exit code. Errors are printed on stderr. */
export async function main(argv: readonly string[]): Promise<number> {
  const readers = watchReaders();
  try {
    await (await program(argv)).parseAsync(argv, { from: 'user' });
    return readers.gone ? readersGone : Number(process.exitCode ?? 0);
  } catch (error) {
    return readers.gone ? readersGone : tell(error);
  }
}

/** Compares by name: the test runner loads modules by require, and modules imported at run time are then loaded a second time. */
const isOurs = (error: unknown): error is KatafleetError => error instanceof Error && error.name === 'KatafleetError';

function tell(error: unknown): number {
  const code = (error as { code?: string } | undefined)?.code;
  if (code?.startsWith('commander.')) return (error as { exitCode: number }).exitCode === 0 ? 0 : errorKinds['request.invalid'].exit;
  const c = colours(process.stderr);
  if (!isOurs(error)) {
    process.stderr.write(
      `${c.red('katafleet: this is an error in katafleet itself:')} ${error instanceof Error ? (error.stack ?? error.message) : messageOf(error)}\n`,
    );
    return errorKinds.internal.exit;
  }
  const hint = error.hint === undefined ? '' : `  ${escapeControls(error.hint)}\n`;
  process.stderr.write(`${c.red('katafleet:')} ${escapeControls(error.message)} ${c.dim(`[${error.code}, ${error.fault}]`)}\n${hint}`);
  return error.exitCode;
}
