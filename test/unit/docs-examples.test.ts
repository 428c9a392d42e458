import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { parseConfig } from '../../src/config/parse.ts';
import { RunJson } from '../../src/model/request-json.ts';

const read = (name: string) => readFileSync(new URL(`../../${name}`, import.meta.url), 'utf8');
const blocks = (name: string, language: string) =>
  [...read(name).matchAll(new RegExp(`^\`\`\`${language}\\n([^]*?)^\`\`\``, 'gm'))].map(([, text = '']) => text);

describe('the examples on the pages are taken', () => {
  for (const page of ['README.md', 'docs/rsync.md', 'docs/legacy.md', 'docs/swarm.md']) {
    it(`${page}: the configuration`, () => {
      const examples = blocks(page, 'yaml');
      assert.ok(examples.length > 0);
      for (const example of examples) assert.doesNotThrow(() => parseConfig(example, page));
    });
  }

  it('README.md and docs/rsync.md: the run', () => {
    const [, request = ''] = /-d '(\{.*\})'/.exec(read('README.md')) ?? [];
    for (const json of [request, ...blocks('docs/rsync.md', 'json')]) assert.doesNotThrow(() => RunJson.parse(JSON.parse(json)), json);
  });

  it('docs/config.md: every key of its tables', () => {
    const keys = [...read('docs/config.md').matchAll(/^\| `([\w[\].]+)` /gm)].map(([, key = '']) => key);
    assert.ok(keys.length > 80);
    for (const key of [...keys, 'nodes[].nosuch']) {
      // `null` is no value of any key, so the answer is about the value if the key is known.
      const faults = refusal(() => parseConfig(JSON.stringify(nested(key.split('.'))), 'a file'));
      assert.equal(/(\w+): unknown key/.exec(faults)?.[1], key === 'nodes[].nosuch' ? 'nosuch' : undefined, faults);
    }
  });
});

function refusal(act: () => unknown): string {
  try {
    act();
    return '';
  } catch (error) {
    return String(error);
  }
}

/** An object with `null` at the path; `a[]` is a list `a` with one item. */
function nested([first, ...rest]: string[]): unknown {
  if (first === undefined) return null;
  return first.endsWith('[]') ? { [first.slice(0, -2)]: [nested(rest)] } : { [first]: nested(rest) };
}
