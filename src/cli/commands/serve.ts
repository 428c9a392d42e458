import { defined } from '../../base/defined.ts';
import { once } from 'node:events';
import { Command } from 'commander';
import { messageOf } from '../../model/errors.ts';
import { defaults } from '../../model/defaults.ts';
import { parseHostName } from '../../model/host-name.ts';
import { Daemon } from '../../app/daemon.ts';
import { escapeLine } from '../show/terminal.ts';
import { type At, configOf } from '../where.ts';

/** Most internal errors that are logged before the process ends. */
const mostFaults = 10;

export function serveCommand(at: At): Command {
  return new Command('serve')
    .description(
      'Serves the API of docs/api.md until SIGTERM or Ctrl-C. Then runs under way may end, and waiting runs are stored for the next start. SIGHUP makes it read its configuration again.',
    )
    .option(
      '-l, --listen <host:port>',
      `address to listen on (default: server.listen of the configuration, 127.0.0.1:${defaults.ports.api}); port 0 takes a free port`,
    )
    .option('--published <host:port>', 'address that clients use, if it is another, such as the published port of a container')
    .option('--journal <file>', 'file that stores the runs (default: journal.file of the configuration)')
    .action(async (options: { listen?: string; published?: string; journal?: string }) => {
      const read = () => {
        const config = configOf(at());
        return {
          ...config,
          server: { ...config.server, ...defined({ listen: options.listen }) },
          journal: { ...config.journal, ...defined({ file: options.journal }) },
        };
      };
      const config = read();
      const log = (line: string) => process.stderr.write(`${new Date().toISOString()} ${escapeLine(line)}\n`);
      const daemon = await Daemon.open({
        config,
        published: options.published,
        names: namesOf(process.env['KATAFLEET_NAMES'] ?? '', log),
        log,
      });
      const broken = new Promise<never>((_resolve, reject) => {
        // After an internal error, the server stops in order, and the log has the reason.
        let faults = 0;
        const fault = (error: unknown) => {
          if ((faults += 1) > mostFaults) return; // a failure to write the log would be an error too
          log(`error in katafleet itself: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
          reject(error instanceof Error ? error : new Error(String(error)));
        };
        process.on('unhandledRejection', fault).on('uncaughtException', fault);
      });
      broken.catch(() => undefined);
      process.on('SIGHUP', () => {
        try {
          daemon.reload(read());
        } catch (error) {
          log(`the configuration is refused, and the one of before stays: ${messageOf(error)}`);
        }
      });
      const ending = Promise.race([once(process, 'SIGINT'), once(process, 'SIGTERM'), broken]);
      try {
        process.stdout.write(`katafleet serves at ${await daemon.start()}\n`);
        await ending;
        log('ending: no new runs, those under way may end');
      } finally {
        await daemon.stop();
      }
    });
}

/**
 * Returns the names in the variable that the stacks set. One that is no host name, such as a node's name may be, is skipped with a
 * message.
 */
function namesOf(variable: string, log: (line: string) => void): string[] {
  return variable.split(/[\s,]+/).flatMap((text) => {
    if (text === '') return [];
    const name = parseHostName(text);
    if (name === undefined) log(`KATAFLEET_NAMES: ${JSON.stringify(text)} is not the name of a host and is left out`);
    return name ?? [];
  });
}
