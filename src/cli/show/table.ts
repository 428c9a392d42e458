import { escapeControls } from './terminal.ts';

/** Returns a plain text table. Each column is as wide as its widest cell; the last one is not padded. */
export function table(
  head: readonly string[],
  rows: readonly (readonly string[])[],
  paint: (row: number, column: number, cell: string) => string = (_row, _column, cell) => cell,
): string {
  const clean = rows.map((row) => row.map((cell) => escapeControls(cell).replaceAll('\n', ' ')));
  const widths = head.map((title, column) => Math.max(title.length, ...clean.map((row) => (row[column] ?? '').length)));
  const line = (cells: readonly string[], shown: readonly string[]) =>
    cells
      .map((cell, column) =>
        column === cells.length - 1
          ? (shown[column] ?? '')
          : `${shown[column] ?? ''}${' '.repeat((widths[column] ?? 0) - cell.length + 2)}`,
      )
      .join('');
  const body = clean.map((row, index) =>
    line(
      row,
      row.map((cell, column) => paint(index, column, cell)),
    ),
  );
  return [line(head, head), ...body].map((text) => text.replace(/\s+$/, '')).join('\n');
}
