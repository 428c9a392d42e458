import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { format } from 'prettier';
import { boundsOf, byItself } from '../../src/model/limit-words.ts';
import { limitNames, limitOf } from '../../src/model/limits.ts';

const page = new URL('../../docs/config.md', import.meta.url);
const between = /(<!-- limits: [^\n]* -->\n)([^]*?)(<!-- \/limits -->)/;

/** The rows of docs/config.md that the table of limits makes. */
function rows(): string[] {
  const code = (text: string) => (/^\d[\d.]*[a-z]+$/.test(text) ? `\`${text}\`` : text);
  return limitNames.map((name) => `| \`profiles.NAME.${name}\` | ${code(byItself(name))} | ${boundsOf(name)} | ${limitOf(name).what} |`);
}

describe('docs/config.md', () => {
  // With KATAFLEET_WRITE_DOCS the rows are written anew.
  it('has each limit with the default, the bounds and the units of the table', async () => {
    const table = await format(['| key | default | bounds | what |', '| - | - | - | - |', ...rows()].join('\n'), { parser: 'markdown' });
    const text = readFileSync(page, 'utf8');
    if (process.env['KATAFLEET_WRITE_DOCS']) {
      writeFileSync(
        page,
        text.replace(between, (_all, begin: string, _old: string, end: string) => `${begin}\n${table}\n${end}`),
      );
    }
    const told = between.exec(readFileSync(page, 'utf8'))?.[2] ?? '';
    assert.equal(told.trim(), table.trim());
  });
});
