import type { z } from 'zod';
import { type Document, isMap, isScalar, LineCounter, type Node, parseDocument, visit } from 'yaml';
import { KatafleetError, messageOf } from '../model/errors.ts';
import { nearest } from './nearest.ts';
import { ConfigFile } from './schema.ts';

/** The keys that lead from the configuration's root to a value. */
export type KeyPath = readonly PropertyKey[];

/** Aliases can make a small file very large; a configuration needs few. */
const mostAliases = 100;

/** Reads YAML and checks it. Each fault is a line: file, line, path, what was expected, what was given. @throws config.invalid */
export function parseConfig(
  text: string,
  file: string,
): { value: ReturnType<typeof ConfigFile.parse>; fault: (path: KeyPath, message: string) => KatafleetError } {
  const lines = new LineCounter();
  const document = read(text, file, lines);
  const line = (path: KeyPath) => lineOf(document, lines, path);
  const fault = (path: KeyPath, message: string) => failure([`${file}:${line(path)}: ${pathText(path)}: ${message}`]);
  const given = plain(document, file, lines);
  const checked = ConfigFile.safeParse(given);
  if (checked.success) return { value: checked.data, fault };
  throw failure(checked.error.issues.flatMap((issue) => tell(issue, given, file, document, lines)));
}

/** Parses the text. @throws config.invalid if it is not one document of plain YAML */
function read(text: string, file: string, lines: LineCounter): Document {
  let document: Document;
  try {
    document = parseDocument(text, { lineCounter: lines, prettyErrors: false, strict: true, uniqueKeys: true });
  } catch (error) {
    throw failure([`${file}: can't be read as YAML: ${messageOf(error)}`]); // it is nested too deeply
  }
  const at = (offset: number) => `${file}:${lines.linePos(offset).line}`;
  // YAML would ignore an unknown tag silently, so its warning counts as a fault.
  const faults = [...document.errors, ...document.warnings].map(({ code, pos, message }) => {
    const said = code === 'MULTIPLE_DOCS' ? 'a second document begins here; expected one' : (message.split('\n', 1)[0] ?? '');
    return `${at(pos[0])}: ${said}`;
  });
  visit(document, {
    Pair: (_index, { key }) => {
      const name: unknown = isScalar(key) ? key.value : undefined;
      if (isScalar(key) && name !== '__proto__') return;
      faults.push(
        `${at((key as Node | null)?.range?.[0] ?? 0)}: expected a plain name as key, got ${isScalar(key) ? String(name) : String(key)}`,
      );
    },
  });
  if (faults.length > 0) throw failure(faults);
  return document;
}

/**
 * Returns the document's plain values; an empty file is an empty configuration.
 * @throws config.invalid for aliases without an anchor, and for too many aliases
 */
function plain(document: Document, file: string, lines: LineCounter): unknown {
  try {
    return document.toJS({ maxAliasCount: mostAliases }) ?? {};
  } catch (error) {
    const name = error instanceof ReferenceError ? /: (\S+)$/.exec(error.message)?.[1] : undefined;
    let offset = 0;
    visit(document, {
      Alias: (_index, alias) => {
        if (name !== undefined && alias.source !== name) return undefined;
        offset = alias.range?.[0] ?? 0;
        return visit.BREAK;
      },
    });
    const what =
      name === undefined ? `the aliases expand to too many values (${messageOf(error)})` : `the alias *${name} has no anchor before it`;
    throw failure([`${file}:${lines.linePos(offset).line}: ${what}`]);
  }
}

function failure(faults: readonly string[]): KatafleetError {
  return new KatafleetError('config.invalid', faults.join('\n'));
}

function tell(issue: z.core.$ZodIssue, given: unknown, file: string, document: Document, lines: LineCounter): string[] {
  const at = (path: KeyPath) => `${file}:${lineOf(document, lines, path)}`;
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
      // The branch that failed deepest in the value describes the fault best.
      const deepest = issue.errors.flat().sort((a, b) => b.path.length - a.path.length)[0];
      if (deepest && deepest.path.length > 0)
        return tell({ ...deepest, path: [...issue.path, ...deepest.path] }, given, file, document, lines);
      return [
        `${at(issue.path)}: ${pathText(issue.path)}: ${issue.message === 'Invalid input' ? (deepest?.message ?? issue.message) : issue.message}`,
      ];
    }
    case 'invalid_key':
      return [`${at(issue.path)}: ${pathText(issue.path)}: the name ${issue.issues[0]?.message ?? 'is not allowed'}`];
    default: {
      const value = valueAt(given, issue.path);
      const custom = issue.code === 'custom';
      const received = custom || issue.message.includes('got ') || value === undefined ? '' : `, got ${short(value)}`;
      const first = custom ? (issue.params?.['first'] as KeyPath | undefined) : undefined;
      const other = first ? ` (the first is on line ${lineOf(document, lines, first)})` : '';
      const missing = issue.code === 'invalid_type' && value === undefined;
      const message = missing
        ? 'is missing'
        : issue.message.replace(/^(Invalid input|Invalid option|Too small|Too big): /, '').replace(/, received \w+$/, '');
      return [`${at(issue.path)}: ${pathText(issue.path)}: ${message}${received}${other}`];
    }
  }
}

/** Returns the line of the value at a path; if it is absent, of the nearest value around it. */
function lineOf(document: Document, lines: LineCounter, path: KeyPath): number {
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

function valueAt(given: unknown, path: KeyPath): unknown {
  return path.reduce<unknown>(
    (value, key) => (typeof value === 'object' && value !== null ? (value as Record<PropertyKey, unknown>)[key] : undefined),
    given,
  );
}

function pathText(path: KeyPath): string {
  return (
    path.reduce<string>(
      (text, key) => (typeof key === 'number' ? `${text}[${key}]` : text === '' ? String(key) : `${text}.${String(key)}`),
      '',
    ) || 'the file'
  );
}

function short(value: unknown): string {
  const text = typeof value === 'number' ? String(value) : (JSON.stringify(value) ?? String(value));
  return text.length > 60 ? `${text.slice(0, 57)}…` : text;
}

/** Returns the keys that an object at this path may have; none if the schema has no object there. */
function keysAt(path: KeyPath): string[] {
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
