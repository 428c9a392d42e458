import { readFileSync } from 'node:fs';
import { Command } from 'commander';
import { errorKinds, KatafleetError, messageOf } from '../core/errors.ts';
import { completionCommand } from './completion.ts';
import { configCommand } from './config.ts';
import { deployCommands } from './deploy.ts';
import { doctorCommand } from './doctor.ts';
import { explainCommand } from './explain.ts';
import { imagesCommand } from './images.ts';
import { kataCommand } from './kata.ts';
import { maintenanceCommand } from './maintenance.ts';
import { cordonCommands, nodesCommand } from './nodes.ts';
import { runCommand } from './run.ts';
import { serveCommand } from './serve.ts';
import { colours, escapeControls } from './terminal.ts';
import type { At } from './where.ts';

/** The command line. Each command has a file beside this one. */
export function program(): Command {
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string };
  const root = new Command('katafleet')
    .description("Runs other people's code safely and at once on Docker hosts.")
    .version(version)
    .option(
      '-H, --host <endpoint>',
      'a single engine: unix:///path, tcp://host:port or ssh://user@host (default: the configuration, else DOCKER_HOST)',
    )
    .option('-c, --config <file>', 'the configuration (default: KATAFLEET_CONFIG, ./katafleet.yaml, /etc/katafleet/katafleet.yaml)')
    .option('-s, --server <url>', 'a running katafleet serve (default: KATAFLEET_SERVER, else the one of the configuration)')
    .showHelpAfterError('(katafleet --help shows how it is used)')
    .configureOutput({ outputError: (text, write) => write(`katafleet: ${text.replace(/^error: /, '')}`) })
    .exitOverride();
  const at: At = () => {
    const { host, config, server } = root.opts<{ host?: string; config?: string; server?: string }>();
    return {
      ...(host === undefined ? {} : { endpoint: host }),
      ...(config === undefined ? {} : { config }),
      ...(server === undefined ? {} : { server }),
    };
  };
  const commands = [
    runCommand(at),
    serveCommand(at),
    nodesCommand(at),
    ...cordonCommands(at),
    imagesCommand(at),
    kataCommand(at),
    explainCommand(at),
    maintenanceCommand(at),
    ...deployCommands(at),
    configCommand(at),
    doctorCommand(at),
  ];
  for (const command of commands) root.addCommand(inherit(root, command));
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
