import { KatafleetError, messageOf } from './errors.ts';

/** The most instructions of a program, about two for each character of its globs, see docs/protocol.md. */
export const mostInstructions = 2_048;

/**
 * Globs as a program for a nondeterministic machine (Thompson's construction), so that the time for a name is linear in its length for
 * any globs. `range` takes one character from a to b, `other` any other character; both continue at the next instruction. `split`
 * continues at a and at b. `match` is the end.
 */
export interface Instruction {
  op: 'match' | 'range' | 'other' | 'split';
  a: number;
  b: number;
}
export type GlobProgram = readonly Instruction[];

const slash = 0x2f;
const last = 0x10ffff;

/**
 * Compiles globs to one program that matches if one of them does, as in .gitignore: a glob without a `/` is compared with the last
 * part of a path, one with a `/` with the whole path; `*` and `?` stay within a part, `**` is any number of parts, `{a,b}` either, `[a-z]`
 * and `[!a-z]` one character, `\` takes the next one as it is, and a `/` at the end means a folder and all that it holds.
 * @throws request.invalid, naming the glob and its fault
 */
export function compileGlobs(globs: readonly string[]): GlobProgram {
  const program = new Program();
  for (const [index, glob] of globs.entries()) {
    const isLast = index === globs.length - 1;
    const branch = isLast ? undefined : program.emit('split');
    if (branch) branch.a = program.at;
    try {
      emitGlob(program, glob);
    } catch (cause) {
      throw new KatafleetError('request.invalid', `back: the glob ${JSON.stringify(glob)} ${messageOf(cause)}`, { cause });
    }
    program.emit('match');
    if (branch) branch.b = program.at;
    if (program.at > mostInstructions)
      throw new KatafleetError('request.invalid', `back: the globs are too many or too long; about ${mostInstructions / 2} characters fit`);
  }
  return program.done;
}

/** Whether a program matches a path. UTF-8 is compared by characters, other bytes one by one, see model/paths.ts. */
export const globsFit = (program: GlobProgram, path: string): boolean => new GlobMatcher(program).fits(path);

/** Matches many paths with one program: its memory is allocated once. */
export class GlobMatcher {
  readonly #program: GlobProgram;
  /** For each instruction, the last character at which it was reached. */
  readonly #come: Uint32Array;
  #character = 0;
  #now: Uint32Array;
  #next: Uint32Array;
  #steps = 0;

  constructor(program: GlobProgram) {
    this.#program = program;
    const places = () => new Uint32Array(program.length);
    [this.#come, this.#now, this.#next] = [places(), places(), places()];
  }

  /** Instructions that were reached so far; the time is proportional to them. */
  get steps(): number {
    return this.#steps;
  }

  fits(path: string): boolean {
    this.#character += 1;
    let count = this.#reach(0, 0);
    for (const character of path) {
      const code = character.codePointAt(0) ?? 0;
      [this.#now, this.#next] = [this.#next, this.#now];
      this.#character += 1;
      const now = this.#now;
      const from = count;
      count = 0;
      for (let place = 0; place < from; place += 1) {
        const at = now[place] ?? 0;
        const { op, a, b } = this.#instruction(at);
        if (op !== 'match' && (code >= a && code <= b) === (op === 'range')) count = this.#reach(at + 1, count);
      }
      if (count === 0) return false;
    }
    return this.#next.subarray(0, count).some((at) => this.#instruction(at).op === 'match');
  }

  #instruction(at: number): Instruction {
    return this.#program[at] ?? { op: 'match', a: 0, b: 0 };
  }

  /** Adds the instructions that are reached from `from` through splits to the `count` next ones. Returns the new count. */
  #reach(from: number, count: number): number {
    if (this.#come[from] === this.#character) return count;
    this.#come[from] = this.#character;
    this.#steps += 1;
    const { op, a, b } = this.#instruction(from);
    if (op === 'split') return this.#reach(b, this.#reach(a, count));
    this.#next[count] = from;
    return count + 1;
  }
}

class Program {
  readonly done: Instruction[] = [];

  get at(): number {
    return this.done.length;
  }

  emit(op: Instruction['op'], a = 0, b = 0): Instruction {
    const instruction = { op, a, b };
    this.done.push(instruction);
    return instruction;
  }

  jump(): Instruction {
    return this.emit('split');
  }

  /** Any number of times. */
  repeat(body: () => void): void {
    const start = this.at;
    const split = this.emit('split');
    split.a = this.at;
    body();
    this.emit('split', start, start);
    split.b = this.at;
  }

  either(branches: readonly (() => void)[]): void {
    const ends: Instruction[] = [];
    for (const [index, branch] of branches.entries()) {
      const split = index === branches.length - 1 ? undefined : this.emit('split');
      if (split) split.a = this.at;
      branch();
      if (split) {
        ends.push(this.jump());
        split.b = this.at;
      }
    }
    for (const end of ends) end.a = end.b = this.at;
  }
}

function emitGlob(program: Program, glob: string): void {
  const folder = glob.endsWith('/');
  const body = folder ? glob.slice(0, -1) : glob;
  const parts = body.replace(/^\//, '').split('/');
  if (parts.some((part) => part === '' || part === '.' || part === '..')) throw new Error('has a part that is empty, "." or ".."');
  const folders = () =>
    program.repeat(() => {
      program.emit('other', slash, slash);
      program.repeat(() => program.emit('other', slash, slash));
      program.emit('range', slash, slash);
    });
  if (!body.includes('/')) folders();
  for (const [index, part] of parts.entries()) {
    const isLast = index === parts.length - 1;
    if (part === '**') {
      if (!isLast) folders();
      else {
        program.emit('range', 0, last);
        program.repeat(() => program.emit('range', 0, last));
      }
      continue;
    }
    if (part.includes('**')) throw new Error('"**" must be a part of its own');
    emitPart(program, part);
    if (!isLast) program.emit('range', slash, slash);
  }
  if (folder)
    program.either([
      () => undefined,
      () => {
        program.emit('range', slash, slash);
        program.repeat(() => program.emit('range', 0, last));
      },
    ]);
}

type Emit = () => void;

function emitPart(program: Program, part: string): void {
  const sequence: Emit[] = [];
  let branches: Emit[][] | undefined;
  const add = (emit: Emit) => (branches?.at(-1) ?? sequence).push(emit);
  for (const { groups = {} } of part.matchAll(/\\(?<escaped>.)|\[(?<not>!?)(?<range>[^\]]+)\]|(?<plain>.)/gsu)) {
    const { escaped, not, range, plain = '' } = groups;
    if (escaped !== undefined) add(literal(program, escaped));
    else if (range !== undefined) add(charactersOf(program, range, not === '!'));
    else if (plain === '*') add(() => program.repeat(() => program.emit('other', slash, slash)));
    else if (plain === '?') add(() => program.emit('other', slash, slash));
    else if (plain === '{') {
      if (branches) throw new Error('has braces within braces');
      branches = [[]];
    } else if (plain === '}' && branches) {
      const all = branches.map((emits) => () => emits.forEach((emit) => emit()));
      sequence.push(() => program.either(all));
      branches = undefined;
    } else if (plain === ',' && branches) branches.push([]);
    else add(literal(program, plain));
  }
  if (branches) throw new Error('has a "{" without "}"');
  for (const emit of sequence) emit();
}

function literal(program: Program, character: string): Emit {
  const code = character.codePointAt(0) ?? 0;
  return () => program.emit('range', code, code);
}

/** One character that is in some ranges, or in none of them; never a slash. */
function charactersOf(program: Program, text: string, not: boolean): Emit {
  const codes = Array.from(text, (character) => character.codePointAt(0) ?? 0);
  const ranges: [number, number][] = [];
  for (let at = 0; at < codes.length; at += 1) {
    const from = codes[at] ?? 0;
    let to = from;
    if (codes[at + 1] === 0x2d && at + 2 < codes.length) {
      to = codes[at + 2] ?? 0;
      at += 2;
    }
    if (to < from) throw new Error(`has a range that runs backwards in [${text}]`);
    ranges.push([from, to]);
  }
  const wanted = not ? complement([...ranges, [slash, slash]]) : ranges.flatMap(([from, to]) => withoutSlash(from, to));
  if (wanted.length === 0) return () => program.emit('range', 1, 0); // matches nothing
  return () =>
    program.either(
      wanted.map(
        ([from, to]) =>
          () =>
            program.emit('range', from, to),
      ),
    );
}

const withoutSlash = (from: number, to: number): [number, number][] =>
  from > slash || to < slash
    ? [[from, to]]
    : (
        [
          [from, slash - 1],
          [slash + 1, to],
        ] as [number, number][]
      ).filter(([low, high]) => low <= high);

function complement(ranges: readonly [number, number][]): [number, number][] {
  const rest: [number, number][] = [];
  let next = 0;
  for (const [from, to] of ranges.toSorted(([a], [b]) => a - b)) {
    if (from > next) rest.push([next, from - 1]);
    next = Math.max(next, to + 1);
  }
  if (next <= last) rest.push([next, last]);
  return rest;
}
