import { readFileSync } from 'node:fs';
import { Command } from 'commander';
import { errorKinds, KatafleetError, messageOf } from '../core/errors.ts';
import { completionCommand } from './completion.ts';
import { doctorCommand } from './doctor.ts';
import { imagesCommand } from './images.ts';
import { runCommand } from './run.ts';
import { colours, escapeControls } from './terminal.ts';

/** The command line. Each command has a file beside this one. */
export function program(): Command {
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string };
  const root = new Command('katafleet')
    .description("Runs other people's code safely and at once on Docker hosts.")
    .version(version)
    .option(
      '-H, --host <endpoint>',
      'engine: unix:///path, tcp://host:port or ssh://user@host (default: DOCKER_HOST, else the default socket)',
    )
    .showHelpAfterError('(katafleet --help shows how it is used)')
    .configureOutput({ outputError: (text, write) => write(`katafleet: ${text.replace(/^error: /, '')}`) })
    .exitOverride();
  const host = () => {
    const { host: endpoint } = root.opts<{ host?: string }>();
    return endpoint === undefined ? {} : { endpoint };
  };
  for (const command of [runCommand(host), imagesCommand(host), doctorCommand(host)]) root.addCommand(inherit(root, command));
  root.addCommand(inherit(root, completionCommand(root)));
  return root;
}

function inherit(root: Command, command: Command): Command {
  command.copyInheritedSettings(root);
  for (const child of command.commands) inherit(root, child);
  return command;
}

/** Runs a command line and gives its exit code; errors are told on stderr. */
export async function main(argv: readonly string[]): Promise<number> {
  try {
    await program().parseAsync(argv, { from: 'user' });
    return Number(process.exitCode ?? 0);
  } catch (error) {
    return tell(error);
  }
}

function tell(error: unknown): number {
  const code = (error as { code?: string } | undefined)?.code;
  if (code?.startsWith('commander.')) return (error as { exitCode: number }).exitCode === 0 ? 0 : errorKinds['request.invalid'].exit;
  const c = colours(process.stderr);
  if (!(error instanceof KatafleetError)) {
    process.stderr.write(
      `${c.red('katafleet: this is a fault of katafleet’s own:')} ${error instanceof Error ? (error.stack ?? error.message) : messageOf(error)}\n`,
    );
    return errorKinds.internal.exit;
  }
  const hint = error.hint === undefined ? '' : `  ${escapeControls(error.hint)}\n`;
  process.stderr.write(`${c.red('katafleet:')} ${escapeControls(error.message)} ${c.dim(`[${error.code}, ${error.fault}]`)}\n${hint}`);
  return error.exitCode;
}
