import assert from 'node:assert/strict';
import { table, withSection } from '../bench/report.ts';

describe('the page of figures', () => {
  const page = '# Page\n<!-- one: begin -->\nold\n<!-- one: end -->\n\n<!-- two: begin -->\nkept\n<!-- two: end -->\n';

  it('has one section replaced, and all else left alone', () => {
    const written = withSection(page, 'one', '\nnew $& words\n\n');
    assert.equal(
      written,
      page.replace('old', () => 'new $& words'),
    );
    assert.equal(withSection(written, 'one', 'old'), page);
  });

  it('is not written where it has no place for the section', () => {
    assert.throws(() => withSection(page, 'three', 'x'), /expected the lines <!-- three: begin -->/);
  });

  it('has tables as Markdown knows them', () => {
    assert.equal(table(['a', 'b'], [['1', '2']]), '| a | b |\n|---|---|\n| 1 | 2 |');
  });
});
