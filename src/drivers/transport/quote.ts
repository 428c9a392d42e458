/** Words that need no quotes in any shell. */
const bare = /^[A-Za-z0-9_./:=,@%+-]+$/;

/**
 * Quotes one word for the remote shell, to which sshd gives the command line. A word without special characters stays as it is; any
 * other is put in single quotes, inside which only a single quote is special.
 * @throws RangeError for a byte 0, which no argument can hold
 */
function quote(word: string): string {
  if (word.includes('\0')) throw new RangeError('an argument can’t hold a byte 0');
  return bare.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

/** Returns the line that makes a remote shell run exactly these words; the first one is the command. */
export function commandLine(words: readonly string[]): string {
  return words.map(quote).join(' ');
}
