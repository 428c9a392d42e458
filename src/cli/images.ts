import { Command } from 'commander';
import { formatBytes, formatDuration } from '../core/quantity.ts';
import { labels } from '../core/labels.ts';
import { readRecipes } from '../images/recipe.ts';
import { Katafleet } from '../index.ts';
import { colours, escapeControls } from './terminal.ts';

export function imagesCommand(host: () => { endpoint?: string }): Command {
  const images = new Command('images').description('The images that runs use.');
  images
    .command('build')
    .summary('build recipes, prove them, tag them')
    .description(
      'Builds the named recipes, or all, with what they stand on. An image gets its tag only when its proofs come out as declared.',
    )
    .argument('[name...]', 'recipes, as katafleet images list shows them')
    .option('-v, --verbose', 'show all that the engine says')
    .action(async (names: string[], options: { verbose?: boolean }) => {
      const c = colours(process.stdout);
      const say = (line: string) => process.stdout.write(`${line}\n`);
      const terse = /^(Step \d|pulling|no registry|proved)/;
      await using fleet = new Katafleet(host());
      await fleet.buildImages(names, {
        begin: (name, index, count) => say(c.bold(`[${index}/${count}] ${name}`)),
        progress: (_name, line) => {
          if (options.verbose || terse.test(line)) say(c.dim(`  ${escapeControls(line)}`));
        },
        done: (name, how, ms) => say(`  ${c.green('✓')} ${name} ${how} ${c.dim(formatDuration(ms))}`),
      });
    });
  images
    .command('list')
    .description('Lists the recipes and whether the node has their images.')
    .option('--json', 'print JSON')
    .action(async (options: { json?: boolean }) => {
      await using fleet = new Katafleet(host());
      const there = await fleet.driver.images();
      const rows = Array.from((await readRecipes()).values(), ({ name, description }) => {
        const image = there.find(
          (candidate) => candidate.labels[labels.recipe] === name && candidate.tags.includes(`katafleet/${name}:latest`),
        );
        return { name, description, built: image !== undefined, ...(image ? { id: image.id, size: image.size } : {}) };
      });
      if (options.json) process.stdout.write(`${JSON.stringify(rows)}\n`);
      else
        for (const row of rows)
          process.stdout.write(
            `${row.name.padEnd(20)} ${(row.size === undefined ? 'not built' : formatBytes(row.size)).padEnd(12)} ${row.description}\n`,
          );
    });
  return images;
}
