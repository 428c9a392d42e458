import type { z } from 'zod';
import { listed } from '../base/listed.ts';

/** How many faults a message names. */
const mostFaults = 10;

/** Returns the faults of an input in words, each with its field, and how many more there are. */
export function faultsOf(error: z.ZodError, whole = 'request'): string {
  const faults = error.issues
    .flatMap((issue) => faultsOfBestForm(issue))
    .map(({ path, message }) => `${path.join('.') || whole}: ${message.replace(/^Invalid input: /, '')}`);
  return listed(faults, mostFaults, { separator: '; ', and: '; and ' });
}

/** If a field may have several forms, reports the form that the input fits best: the one whose faults lie deepest. */
function faultsOfBestForm(issue: z.core.$ZodIssue): { path: PropertyKey[]; message: string }[] {
  if (issue.code !== 'invalid_union') return [issue];
  const depth = (issues: readonly z.core.$ZodIssue[]) => Math.max(0, ...issues.map(({ path }) => path.length));
  const [meant] = [...issue.errors].sort((a, b) => depth(b) - depth(a));
  if (!meant || depth(meant) === 0) {
    const either = issue.errors.flatMap((errors) => errors.map(({ message }) => message.replace(/^Invalid input: /, '')));
    return [{ path: issue.path, message: [...new Set(either)].join(', or ') || issue.message }];
  }
  return meant.flatMap((inner) => faultsOfBestForm({ ...inner, path: [...issue.path, ...inner.path] }));
}
