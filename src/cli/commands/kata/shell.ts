import { Command } from 'commander';
import type { RunTest } from '../../../katas/avatar-test.ts';
import { Katas } from '../../../katas/store.ts';
import { KatafleetError } from '../../../model/errors.ts';
import { escapeControls } from '../../show/terminal.ts';
import { type At, configOf } from '../../where.ts';

/** What the commands of `katafleet kata` share: the folder of the katas, and how they print. */
export class KataShell {
  readonly at: At;
  readonly #store: () => string | undefined;

  /** `store`: the value of `--store`, if it was given. */
  constructor(at: At, store: () => string | undefined) {
    this.at = at;
    this.#store = store;
  }

  get folder(): string {
    return this.#store() ?? (process.env['KATAFLEET_KATAS'] || configOf(this.at()).katas.folder);
  }

  /** Opens the katas. `run` runs their tests; commands that run none leave it out. */
  open(run: RunTest = () => Promise.reject(new KatafleetError('internal', 'this command runs nothing'))): Katas {
    return new Katas({ folder: this.folder, run, trouble: (text) => this.trouble(text) });
  }

  trouble(text: string): void {
    process.stderr.write(`katafleet: ${escapeControls(text)}\n`);
  }

  json(value: unknown): void {
    process.stdout.write(`${JSON.stringify(value)}\n`);
  }

  say(text: string): void {
    process.stdout.write(`${text}\n`);
  }
}

/** Creates a command that is about one avatar of a kata. `summary` is for the list of commands. */
export const avatarCommand = (name: string, summary: string, description: string): Command =>
  new Command(name)
    .summary(summary)
    .description(description)
    .argument('<kata>', 'its id')
    .argument('<avatar>', 'its name: lower-case letters, digits and -')
    .option('--json', 'print JSON');

/** Reads a number from 1. @throws request.invalid */
export function parseCount(name: string, text: string): number {
  if (/^[1-9]\d{0,8}$/.test(text)) return Number(text);
  throw new KatafleetError('request.invalid', `${name}: expected a number from 1, got ${JSON.stringify(text)}`);
}
