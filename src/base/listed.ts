/** The first items, and how many more there are: `a, b and 3 more`. `most` is how many are shown. */
export function listed(
  items: readonly string[],
  most: number,
  { separator = ', ', and = ' and ' }: { separator?: string; and?: string } = {},
): string {
  const shown = items.slice(0, most).join(separator);
  return items.length > most ? `${shown}${and}${items.length - most} more` : shown;
}
