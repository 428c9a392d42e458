import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../', import.meta.url));
const read = (path: string) => readFileSync(join(root, path), 'utf8');
const pages = [
  ...['README.md', 'CHANGELOG.md', 'test/README.md', 'test/golden/README.md'],
  ...readdirSync(join(root, 'docs')).map((name) => `docs/${name}`),
];

/** The anchors of a page's headings, as GitHub makes them. */
const anchorsOf = (page: string): string[] =>
  [...read(page).matchAll(/^#+ (.+)$/gm)].map(([, heading = '']) =>
    heading
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  );

/** Paths that a page names in code: those of the whole project, and those below a folder that the page's text stands for. */
const pathsIn = (text: string): string[] =>
  [...text.matchAll(/`([\w.-]+(?:\/[\w.-]+)*\/[\w.-]*)`/g)].flatMap(([, path = '']) => (/[A-Z]{3}/.test(path) ? [] : [path]));

describe('the pages lead to what exists', () => {
  for (const page of pages) {
    it(`${page}: every link`, () => {
      const broken = [...read(page).matchAll(/\]\(([^)\s]+)\)/g)].flatMap(([, link = '']) => {
        if (/^[a-z]+:/.test(link)) return [];
        const [path = '', anchor] = link.split('#');
        const target = path === '' ? page : join(dirname(page), path);
        if (!existsSync(join(root, target))) return [link];
        return anchor === undefined || statSync(join(root, target)).isDirectory() || anchorsOf(target).includes(anchor) ? [] : [link];
      });
      assert.deepEqual(broken, []);
    });
  }

  it('architecture.md: every path of the project', () => {
    const paths = pathsIn(read('docs/architecture.md')).filter((path) => /^(src|docs|test|scripts|images|stacks|bin)\//.test(path));
    assert.ok(paths.length > 50);
    assert.deepEqual(
      paths.filter((path) => !existsSync(join(root, path))),
      [],
    );
  });

  it('architecture.md: a row for every folder of src, and for no other', () => {
    const rows = [...read('docs/architecture.md').matchAll(/^\| `src\/([\w-]+)\/` /gm)].map(([, house]) => house);
    const houses = readdirSync(join(root, 'src'), { withFileTypes: true }).filter((entry) => entry.isDirectory());
    assert.deepEqual(rows.toSorted(), houses.map(({ name }) => name).toSorted());
  });

  it('eslint.config.js: a guard for every folder of src, which holds no file but main.ts', () => {
    const [, list = ''] = /const houses = \[([^\]]*)\]/.exec(read('eslint.config.js')) ?? [];
    const guarded = [...list.matchAll(/'(\w+)'/g)].map(([, house = '']) => house);
    assert.deepEqual([...guarded, 'main.ts'].toSorted(), readdirSync(join(root, 'src')).toSorted());
  });

  it('glossary.md: every path', () => {
    const paths = pathsIn(read('docs/glossary.md'));
    assert.ok(paths.length > 30);
    assert.deepEqual(
      paths.filter((path) => ![join(root, 'src', path), join(root, path)].some((place) => existsSync(place))),
      [],
    );
  });
});
