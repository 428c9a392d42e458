/** Words that every shell takes as they are. */
const bare = /^[A-Za-z0-9_./:=,@%+-]+$/;

/**
 * One word for the remote shell, which sshd hands our line to: bare where no shell sees anything in it, else in single
 * quotes, in which nothing but a single quote means anything. @throws RangeError for a byte 0, which no argument can hold
 */
function quote(word: string): string {
  if (word.includes('\0')) throw new RangeError('an argument can’t hold a byte 0');
  return bare.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

/** The line that makes a remote shell run exactly these words, the first of which is the command. */
export function commandLine(words: readonly string[]): string {
  return words.map(quote).join(' ');
}
