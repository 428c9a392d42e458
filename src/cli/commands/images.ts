import { Command } from 'commander';
import { listed } from '../../base/listed.ts';
import { formatBytes, formatDuration } from '../../model/quantity.ts';
import { labels } from '../../model/labels.ts';
import { readRecipes } from '../../images/recipe.ts';
import type { FleetImage } from '../../model/fleet-image.ts';
import { distributeCommand } from './distribute.ts';
import { table } from '../show/table.ts';
import { colours, escapeControls } from '../show/terminal.ts';
import { type At, fleetOf, runningServer } from '../where.ts';

export function imagesCommand(at: At): Command {
  const images = new Command('images')
    .description('Shows for each image which nodes can run it now, which lack it and which can never run it.')
    .option('--all', "images of others too, not only katafleet's")
    .option('--json', 'print JSON')
    .action(async (options: { all?: boolean; json?: boolean }) => {
      const found = await imagesOf(at);
      const shown = found.filter(({ labels: own }) => options.all || options.json || labels.recipe in own);
      if (options.json) process.stdout.write(`${JSON.stringify(shown)}\n`);
      else if (shown.length > 0) process.stdout.write(`${imagesTable(shown)}\n`);
      else process.stdout.write('no image of katafleet is on any node: katafleet images build; --all shows the others\n');
    });
  images
    .command('build')
    .summary('build images from recipes, prove and tag them')
    .description(
      'Builds the named recipes, or all, and the recipes that they are built on. An image gets its tag only if its proofs end as the recipe declares.',
    )
    .argument('[name...]', 'recipes, as katafleet images list shows them')
    .option('-v, --verbose', 'show all output of the engine')
    .action(async (names: string[], options: { verbose?: boolean }) => {
      const c = colours(process.stdout);
      const say = (line: string) => process.stdout.write(`${line}\n`);
      const terse = /^(Step \d|pulling|no registry|proved)/;
      await using fleet = fleetOf(at());
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
    .summary('list the recipes, and whether the node has their images')
    .description('Lists the recipes, and whether the node has their images.')
    .action(async (_options: object, command: Command) => {
      const options = command.optsWithGlobals<{ json?: boolean }>();
      await using fleet = fleetOf(at());
      await fleet.open(); // the driver is known then: a node with only the docker command has no API
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
  images.addCommand(distributeCommand(at));
  return images;
}

async function imagesOf(at: At): Promise<FleetImage[]> {
  const server = await runningServer(at());
  if (server) return server.images();
  await using katafleet = fleetOf(at());
  await katafleet.open();
  return katafleet.fleet.images();
}

export function imagesTable(images: readonly FleetImage[]): string {
  const short = (id: string) => id.replace(/^sha256:/, '').slice(0, 12);
  const nodes = (names: readonly string[]) => listed(names, 6, { separator: ' ' }) || '-';
  const rows = images.map((image) => [
    image.name,
    image.ids.map(short).join(' '),
    formatBytes(image.size),
    nodes(image.ready),
    nodes([...image.waiting.map((node) => `(${node})`), ...image.obtainable]),
    listed(
      image.unable.map(({ node, why }) => `${node}: ${why}`),
      3,
      { separator: '; ', and: '; and ' },
    ) || '-',
  ]);
  return table(['IMAGE', 'ID', 'SIZE', 'RUNS ON', 'NOT NOW', "CAN'T"], rows);
}
