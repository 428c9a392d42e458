import type { Command } from 'commander';
import assert from 'node:assert/strict';
import { program } from '../../src/cli/program.ts';

describe('the summaries of commands', () => {
  it('begin with a verb in lower case and end without a point, for the commands of commands too', async () => {
    const visit = (command: Command, path: string): string[] =>
      command.commands.flatMap((child) => {
        const name = `${path} ${child.name()}`;
        return [...(/^[a-z]+[^s] .*[^.]$/.test(child.summary()) ? [] : [`${name}: ${child.summary()}`]), ...visit(child, name)];
      });
    assert.deepEqual(visit(await program(), 'katafleet'), []);
  });
});
