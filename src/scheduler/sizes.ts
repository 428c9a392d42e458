/** Classes of sizes in each doubling. Sizes of one class differ by an eighth at most. */
const classes = 8;

/** Returns the class of a size in bytes; a larger size never has a lower class. From 16 MiB to 1 TiB there are 128 of them. */
export function sizeClass(bytes: number): number {
  if (bytes < 1) return 0;
  const doublings = Math.floor(Math.log2(bytes));
  return doublings * classes + Math.ceil((bytes / 2 ** doublings - 1) * classes) + 1;
}
