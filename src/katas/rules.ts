import { RE2JS } from 're2js';
import { parse } from 'yaml';
import { z } from 'zod';
import { KatafleetError, messageOf } from '../model/errors.ts';
import { compileGlobs } from '../model/glob.ts';
import { compileGlob } from './glob.ts';

/** The file beside manifest.json with the rules for files that a test creates. */
export const rulesFile = 'kata.yaml';

/** What happens to a file of the tools: it is shown to the person; it is kept for the next test but not shown; it is dropped. */
export const Fate = z.enum(['show', 'hide', 'ignore']);
export type Fate = z.infer<typeof Fate>;

const Glob = z
  .string()
  .min(1)
  .max(500)
  .superRefine((glob, context) => {
    try {
      compileGlob(glob);
    } catch (error) {
      context.addIssue({ code: 'custom', message: `the glob ${JSON.stringify(glob)} ${messageOf(error)}` });
    }
  });
const Globs = z.union([Glob.transform((glob) => [glob]), z.array(Glob).min(1).max(200)]);

const Back = Globs.superRefine((globs, context) => {
  try {
    compileGlobs(globs);
  } catch (error) {
    context.addIssue({ code: 'custom', message: messageOf(error) });
  }
});

/** Rules in order: the first one whose glob matches a path decides, else `otherwise` does. */
export const Rules = z.strictObject({
  rules: z
    .array(z.union([z.strictObject({ show: Globs }), z.strictObject({ hide: Globs }), z.strictObject({ ignore: Globs })]))
    .max(100)
    .default([]),
  otherwise: Fate.default('show'),
  /** Which files tests bring back, see model/glob.ts; all if absent. A file that matches no glob is neither sent nor counted. */
  back: Back.optional(),
});
export type Rules = z.output<typeof Rules>;

/** Reads kata.yaml. @throws kata.invalid */
export function parseRules(text: string, shown: string): Rules {
  try {
    return Rules.parse(parse(text) ?? {});
  } catch (cause) {
    const why =
      cause instanceof z.ZodError ? cause.issues.map(({ path, message }) => `${path.join('.')}: ${message}`).join('; ') : messageOf(cause);
    throw new KatafleetError('kata.invalid', `${shown} is not valid: ${why}`, {
      cause,
      hint: "rules: [{ show: '*.gcov' }, { hide: ['*.o', '*.gcda'] }, { ignore: '__pycache__/' }]",
    });
  }
}

export type FateOf = (path: string) => Fate;

/**
 * Returns the function that decides on paths. `hidden` are cyber-dojo's hidden_filenames, expressions that may match anywhere in a
 * path; the rules come first.
 * @throws kata.invalid for an expression that RE2 does not accept
 */
export function fateOf({ rules, otherwise }: Rules, hidden: readonly string[] = []): FateOf {
  const tests = rules.flatMap((rule) =>
    Object.entries(rule).flatMap(([fate, globs]) => globs.map((glob) => ({ fate: Fate.parse(fate), fits: compileGlob(glob) }))),
  );
  const expressions = hidden.map((expression) => {
    try {
      return RE2JS.compile(expression);
    } catch (cause) {
      throw new KatafleetError(
        'kata.invalid',
        `hidden_filenames: ${JSON.stringify(expression)} is not an RE2 expression: ${messageOf(cause)}`,
        { cause },
      );
    }
  });
  return (path) =>
    tests.find(({ fits }) => fits(path))?.fate ?? (expressions.some((expression) => expression.test(path)) ? 'hide' : otherwise);
}
