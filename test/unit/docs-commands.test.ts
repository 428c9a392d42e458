import type { Command, Option } from 'commander';
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { program } from '../../src/cli/program.ts';

const root = new URL('../../', import.meta.url);
const read = (name: string) => readFileSync(new URL(name, root), 'utf8');
// protocol.md has texts that are signed and begin with katafleet.
const pages = ['README.md', ...readdirSync(new URL('docs', root)).map((name) => `docs/${name}`)].filter(
  (page) => page !== 'docs/protocol.md',
);

/** One `katafleet …` that a page shows. `typed`: it stands in a block, as a reader types it; else it may have placeholders. */
interface ShownCommand {
  where: string;
  line: string;
  typed: boolean;
}

/** How a page calls katafleet: by the launcher, from a clone, or from a clone that is not built. */
const call = /^(?:\$ |# )?(?:sudo )?(?:[A-Z_]+=\S+ )*(?:(?:bin\/)?katafleet|node dist\/main\.js|npx tsx src\/main\.ts) (.+)$/;

function shown(page: string): ShownCommand[] {
  const found: ShownCommand[] = [];
  let fenced = false;
  for (const [index, text] of read(page).split('\n').entries()) {
    const where = `${page}:${index + 1}`;
    if (text.startsWith('```')) fenced = !fenced;
    else if (fenced) {
      const [, line] = call.exec(text) ?? [];
      if (line !== undefined) found.push({ where, line, typed: true });
    } else {
      for (const [, code = ''] of text.matchAll(/`([^`]+)`/g)) {
        const [, line] = call.exec(code) ?? [];
        if (line !== undefined) found.push({ where, line, typed: false });
      }
    }
  }
  return found;
}

/** The words of a command up to what the shell keeps for itself, or up to the program that katafleet runs. */
function wordsOf(line: string): string[] {
  const [katafleets = ''] = line.replaceAll('\\|', '|').split(/ (?:#|&|\||>|<|--(?= |$))(?= |$)| \[--/);
  return katafleets.split(' ').filter((word) => word !== '');
}

const optionOf = (command: Command, flag: string): Option | undefined =>
  command.options.find(({ short, long }) => [short, long].includes(flag)) ?? (command.parent ? optionOf(command.parent, flag) : undefined);

/** Walks the words. Returns the faults: commands and options that do not exist. */
function faultsIn(words: readonly string[], typed: boolean, at: Command): string[] {
  const [first, ...rest] = words;
  if (first === undefined || first === '…' || ['--help', '-h', 'help'].includes(first)) return [];
  const bare = first.replace(/^\[|\]$/g, '');
  if (bare.startsWith('-')) {
    const option = optionOf(at, bare.replace(/=.*/, ''));
    if (!option) return [`katafleet ${at.name()} has no option ${bare}`];
    return faultsIn(option.required && !bare.includes('=') ? rest.slice(1) : rest, typed, at);
  }
  const names = at.commands.map((command) => command.name());
  const meant = bare.split('|').filter((name) => name !== '…');
  const children = meant.flatMap((name) => at.commands.find((command) => command.name() === name) ?? []);
  if (children.length === meant.length && children.length > 0) return children.flatMap((child) => faultsIn(rest, typed, child));
  const takesArguments = at.registeredArguments.length > 0;
  if (names.length > 0 && !takesArguments) return [`katafleet ${at.name()} has no command ${bare}; there are ${names.join(', ')}`];
  if (!takesArguments) return typed ? [`katafleet ${at.name()} takes no argument, got ${bare}`] : [];
  return faultsIn(rest, typed, at);
}

/** Every command that is no group, with its path such as `images build`. */
const visit = (command: Command, path = ''): { path: string; command: Command }[] =>
  command.commands.flatMap((child) => {
    const name = `${path}${child.name()}`;
    return [{ path: name, command: child }, ...visit(child, `${name} `)];
  });

describe('the pages show commands that exist', () => {
  let katafleet: Command;
  before(async () => (katafleet = await program()));

  for (const page of pages) {
    it(`${page}: every command and option`, () => {
      const faults = shown(page).flatMap(({ where, line, typed }) =>
        faultsIn(wordsOf(line), typed, katafleet).map((fault) => `${where}: ${fault} (${line})`),
      );
      assert.deepEqual(faults, []);
    });
  }

  it('finds a command and an option that do not exist', () => {
    const faults = ['nodse', 'run DIR --imgae x', 'images bild', 'kata create|tets X', 'serve HERE', '--server URL nodes --wide -x'];
    for (const line of faults) assert.equal(faultsIn(wordsOf(line), true, katafleet).length, 1, line);
    for (const line of ['run DIR -- gcc --any', 'nodes & ', 'kata create|test|… X', '-s URL run . -i x --limit=a=b'])
      assert.deepEqual(faultsIn(wordsOf(line), true, katafleet), [], line);
  });

  it('has every option of every command on the page of its command', () => {
    const own: Record<string, string> = {
      images: 'docs/images.md',
      kata: 'docs/katas.md',
      deploy: 'docs/deploying.md',
      undeploy: 'docs/deploying.md',
    };
    const missing = visit(katafleet).flatMap(({ path, command }) => {
      const [house = ''] = path.split(' ');
      const sections = read('docs/cli.md')
        .split(/^(?=## )/m)
        .filter((section) => new RegExp(`^## .*\\b${house}\\b`).test(section));
      const text = [...sections, own[house] === undefined ? '' : read(own[house])].join('\n');
      return command.options
        .filter(({ long }) => long && !new RegExp(`${long}(?![\\w-])`).test(text))
        .map(({ long }) => `${path} ${long ?? ''}`);
    });
    assert.deepEqual(missing, []);
  });
});
