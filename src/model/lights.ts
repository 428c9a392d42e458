import { z } from 'zod';
import { wordOf } from './word.ts';

/** The traffic light: red if a test fails, amber if that cannot be told (mostly: it does not compile), green if all pass. */
export const Light = z.enum(['red', 'amber', 'green']);
export type Light = z.infer<typeof Light>;

/** Reads a light. What a light of a later release means can't be told. */
export const ReadLight = wordOf(Light, 'amber');

/** Regular expression in RE2's syntax: no backreference and no look-around, so that hostile output costs linear time. */
const Pattern = z.string().min(1).max(1_000);

/** A rule holds if everything that it names holds. */
export const LightRule = z
  .strictObject({
    light: Light,
    /** Exit codes. */
    exit: z.array(z.int().min(0).max(255)).min(1).optional(),
    stdout: Pattern.optional(),
    stderr: Pattern.optional(),
    /** Either stream. */
    output: Pattern.optional(),
  })
  .refine((rule) => rule.exit ?? rule.stdout ?? rule.stderr ?? rule.output, 'a rule needs exit, stdout, stderr or output');
export type LightRule = z.infer<typeof LightRule>;

/** Rules in order. The first that holds gives the light, else `otherwise` does. They are asked only if the run exited. */
export const LightRules = z.strictObject({
  rules: z.array(LightRule).max(100),
  otherwise: Light.default('amber'),
});
export type LightRules = z.infer<typeof LightRules>;
