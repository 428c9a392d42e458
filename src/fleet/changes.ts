import { isDeepStrictEqual } from 'node:util';
import type { NodeSettings } from './node/settings.ts';

/** What is to be done with a node so that it is as its new settings say. */
export type NodeChange =
  | { kind: 'add'; settings: NodeSettings }
  /** Its settings change while it serves. */
  | { kind: 'alter'; settings: NodeSettings; fields: readonly string[] }
  /** It must be connected anew, so it is drained before. */
  | { kind: 'renew'; settings: NodeSettings; fields: readonly string[] }
  | { kind: 'remove'; name: string };

/** The settings that say how a node is reached or served; all others can change while it serves. */
const connection = new Set<keyof NodeSettings>(['endpoint', 'managers', 'tls', 'ssh', 'driver', 'starts']);

/** Compares the nodes that there are with those that are wanted; nodes are the same if they have the same name. */
export function nodeChanges(now: readonly NodeSettings[], wanted: readonly NodeSettings[]): NodeChange[] {
  const before = new Map(now.map((settings) => [settings.name, settings]));
  const changes = wanted.flatMap((settings): NodeChange[] => {
    const old = before.get(settings.name);
    before.delete(settings.name);
    if (!old) return [{ kind: 'add', settings }];
    const fields = differing(old, settings);
    if (fields.length === 0) return [];
    return [{ kind: fields.some((field) => connection.has(field)) ? 'renew' : 'alter', settings, fields }];
  });
  return [...changes, ...Array.from(before.keys(), (name): NodeChange => ({ kind: 'remove', name }))];
}

/** Returns the fields in which two nodes' settings differ. An absent field is as one that is undefined. */
function differing(a: NodeSettings, b: NodeSettings): (keyof NodeSettings)[] {
  const fields = new Set([...Object.keys(a), ...Object.keys(b)]) as Set<keyof NodeSettings>;
  return [...fields].filter((field) => !isDeepStrictEqual(a[field], b[field]));
}

/** Tells changes in words, for the log. */
export function changesInWords(changes: readonly NodeChange[]): string[] {
  return changes.map((change) => {
    if (change.kind === 'add') return `${change.settings.name}: added`;
    if (change.kind === 'remove') return `${change.name}: leaves; its runs go on to their end`;
    const { settings, fields } = change;
    const other = `${settings.name}: other ${fields.join(', ')}`;
    return change.kind === 'alter' ? other : `${other}; it is connected anew when its runs have ended`;
  });
}
