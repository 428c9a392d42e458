import { isMap, LineCounter, type Node, parseDocument, type Document } from 'yaml';
import type { z } from 'zod';
import { KatafleetError, messageOf } from '../core/errors.ts';
import { ConfigFile } from './schema.ts';

type Path = readonly PropertyKey[];

/** Aliases may blow a small file up; a configuration needs few. */
const mostAliases = 100;

/** Reads YAML and checks it. Each fault is a line: file, line, path, what was expected, what came. @throws config.invalid */
export function parseConfig(
  text: string,
  file: string,
): { value: ReturnType<typeof ConfigFile.parse>; fault: (path: Path, message: string) => KatafleetError } {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, strict: true, uniqueKeys: true });
  const line = (path: Path) => lineOf(document, lines, path);
  const fault = (path: Path, message: string) => failure([`${file}:${line(path)}: ${pathText(path)}: ${message}`]);
  if (document.errors.length > 0) {
    throw failure(document.errors.map((error) => `${file}:${lines.linePos(error.pos[0]).line}: ${error.message.split('\n', 1)[0] ?? ''}`));
  }
  let given: unknown;
  try {
    given = document.toJS({ maxAliasCount: mostAliases }) ?? {};
  } catch (error) {
    throw failure([`${file}: ${messageOf(error)}`]);
  }
  const checked = ConfigFile.safeParse(given);
  if (checked.success) return { value: checked.data, fault };
  throw failure(checked.error.issues.flatMap((issue) => tell(issue, given, file, document, lines)));
}

function failure(faults: readonly string[]): KatafleetError {
  return new KatafleetError('config.invalid', faults.join('\n'));
}

function tell(issue: z.core.$ZodIssue, given: unknown, file: string, document: Document, lines: LineCounter): string[] {
  const at = (path: Path) => `${file}:${lineOf(document, lines, path)}`;
  switch (issue.code) {
    case 'unrecognized_keys':
      return issue.keys.map((key) => {
        const path = [...issue.path, key];
        const near = nearest(key, keysAt(issue.path));
        const known = keysAt(issue.path);
        const help = near === undefined ? `; known are: ${known.join(', ')}` : `; did you mean ${near}?`;
        return `${at(path)}: ${pathText(path)}: unknown key${help}`;
      });
    case 'invalid_union': {
      // The branch that went furthest knows best what is wrong.
      const deepest = issue.errors.flat().sort((a, b) => b.path.length - a.path.length)[0];
      if (deepest && deepest.path.length > 0)
        return tell({ ...deepest, path: [...issue.path, ...deepest.path] }, given, file, document, lines);
      return [
        `${at(issue.path)}: ${pathText(issue.path)}: ${issue.message === 'Invalid input' ? (deepest?.message ?? issue.message) : issue.message}`,
      ];
    }
    default: {
      const value = valueAt(given, issue.path);
      const came = issue.code === 'custom' || issue.message.includes('got ') || value === undefined ? '' : `, got ${short(value)}`;
      const first = issue.code === 'custom' ? (issue.params?.['first'] as Path | undefined) : undefined;
      const other = first ? ` (the first is on line ${lineOf(document, lines, first)})` : '';
      const message = issue.code === 'invalid_type' && value === undefined ? 'is missing' : issue.message.replace(/^Invalid input: /, '');
      return [`${at(issue.path)}: ${pathText(issue.path)}: ${message}${came}${other}`];
    }
  }
}

/** Line of what a path names, or of the nearest thing around it that is there. */
function lineOf(document: Document, lines: LineCounter, path: Path): number {
  for (let length = path.length; length >= 0; length -= 1) {
    const part = path.slice(0, length);
    const parent = length > 0 ? (document.getIn(part.slice(0, -1), true) as Node | undefined) : undefined;
    const key = part.at(-1);
    const pair = isMap(parent)
      ? parent.items.find((item) => String((item.key as { value?: unknown } | null)?.value ?? item.key) === String(key))
      : undefined;
    const range = (pair?.key as Node | undefined)?.range ?? (document.getIn(part, true) as Node | undefined)?.range;
    if (range) return lines.linePos(range[0]).line;
  }
  return 1;
}

function valueAt(given: unknown, path: Path): unknown {
  return path.reduce<unknown>(
    (value, key) => (typeof value === 'object' && value !== null ? (value as Record<PropertyKey, unknown>)[key] : undefined),
    given,
  );
}

function pathText(path: Path): string {
  return (
    path.reduce<string>(
      (text, key) => (typeof key === 'number' ? `${text}[${key}]` : text === '' ? String(key) : `${text}.${String(key)}`),
      '',
    ) || 'the file'
  );
}

function short(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 60 ? `${text.slice(0, 57)}…` : text;
}

/** The keys that an object of the schema may have; none where the path leads to no object. */
function keysAt(path: Path): string[] {
  let schema: unknown = ConfigFile;
  for (const step of [...path, undefined]) {
    schema = unwrap(schema);
    if (step === undefined) break;
    const { def } = schema as { def: { type: string; shape?: Record<PropertyKey, unknown>; element?: unknown; valueType?: unknown } };
    schema =
      def.type === 'object' ? def.shape?.[step] : def.type === 'array' ? def.element : def.type === 'record' ? def.valueType : undefined;
    if (schema === undefined) return [];
  }
  const { shape } = schema as { shape?: object };
  return shape ? Object.keys(shape) : [];
}

function unwrap(schema: unknown): unknown {
  for (let inner = schema; ;) {
    const { def } = (inner ?? {}) as { def?: { type: string; innerType?: unknown; in?: unknown } };
    const next = def?.type === 'pipe' ? def.in : def?.innerType;
    if (next === undefined) return inner;
    inner = next;
  }
}

/** The known key that takes the fewest edits, when they are few. */
function nearest(key: string, known: readonly string[]): string | undefined {
  const scored = known
    .map((candidate) => ({ candidate, edits: distance(key.toLowerCase(), candidate.toLowerCase()) }))
    .sort((a, b) => a.edits - b.edits);
  const [best] = scored;
  return best && best.edits <= Math.max(1, Math.floor(key.length / 3)) ? best.candidate : undefined;
}

/** Levenshtein's distance; both are short. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= Math.min(a.length, 100); i += 1) {
    const next = [i];
    for (let j = 1; j <= b.length; j += 1) {
      next[j] = Math.min((row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1, (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
