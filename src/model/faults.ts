import type { z } from 'zod';

/** Returns the faults of an input in words, each with its field; ten at most. */
export function faultsOf(error: z.ZodError, whole = 'request'): string {
  return error.issues
    .flatMap((issue) => told(issue))
    .slice(0, 10)
    .map(({ path, message }) => `${path.join('.') || whole}: ${message.replace(/^Invalid input: /, '')}`)
    .join('; ');
}

/** If a field may have several forms, reports the form that the input fits best: the one whose faults lie deepest. */
function told(issue: z.core.$ZodIssue): { path: PropertyKey[]; message: string }[] {
  if (issue.code !== 'invalid_union') return [issue];
  const depth = (issues: readonly z.core.$ZodIssue[]) => Math.max(0, ...issues.map(({ path }) => path.length));
  const [meant] = [...issue.errors].sort((a, b) => depth(b) - depth(a));
  if (!meant || depth(meant) === 0) {
    const either = issue.errors.flatMap((errors) => errors.map(({ message }) => message.replace(/^Invalid input: /, '')));
    return [{ path: issue.path, message: [...new Set(either)].join(', or ') || issue.message }];
  }
  return meant.flatMap((inner) => told({ ...inner, path: [...issue.path, ...inner.path] }));
}
