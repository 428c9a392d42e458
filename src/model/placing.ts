import { z } from 'zod';
import { hour } from '../base/units.ts';
import { defaults } from './defaults.ts';

/** `key==value` or `key!=value` over a node's labels. If a node lacks the label, its value is empty. */
export const Constraint = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._/-]{0,127}(==|!=)[^=\0]{0,255}$/, 'must be key==value or key!=value');

export function splitConstraint(constraint: string): { key: string; equal: boolean; value: string } {
  const at = constraint.search(/[=!]=/);
  return { key: constraint.slice(0, at), equal: constraint[at] === '=', value: constraint.slice(at + 2) };
}

/** Whether the constraint holds for the labels. The value of an absent label is empty. */
export function holds(constraint: string, labels: Readonly<Record<string, string>>): boolean {
  const { key, equal, value } = splitConstraint(constraint);
  return ((labels[key] ?? '') === value) === equal;
}

/**
 * Whether a swarm can express the constraint over its nodes' labels. It takes names of two characters or more and values that are not
 * empty, both from a small set of characters (SwarmKit's constraint.Parse).
 */
export function hasSwarmWords(constraint: string): boolean {
  const { key, value } = splitConstraint(constraint);
  return /^[a-z_][a-z0-9\-_.]+$/i.test(key) && /^[a-z0-9:\-_ .*()?+[\]\\^$|/]+$/i.test(value);
}

/** Where and when a run may run: what the scheduler knows of it in addition to its image and limits. */
export const Placing = z.strictObject({
  /** Whose run it is. Tenants get equal shares if there is not enough room for all. */
  tenant: z
    .string()
    .regex(/^[A-Za-z0-9][A-Za-z0-9._@-]{0,127}$/, 'must be 1 to 128 letters, digits, or . _ @ -')
    .default('default'),
  /** 0 to 9; higher goes first. */
  priority: z.int().min(0).max(9).default(5),
  /** All must hold for the node's labels. */
  constraints: z.array(Constraint).max(32).default([]),
  architecture: z.enum(['amd64', 'arm64']).optional(),
  /** Longest wait in the queue, ms; after it the run fails. */
  queueMs: z
    .int()
    .min(0)
    .max(24 * hour)
    .default(defaults.queueMs),
});
export type Placing = z.output<typeof Placing>;

/** The placing of a run that gives none. */
export const unplaced: Placing = Placing.parse({});
