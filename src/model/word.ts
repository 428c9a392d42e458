import { z } from 'zod';

/**
 * A word of a list, as an answer or a record has it. A word that only a later release knows is read as `other`, so that the rest stays
 * readable. What is no word is refused.
 */
export const wordOf = <const W extends string>(known: z.ZodEnum<Readonly<Record<W, W>>>, other: NoInfer<W>) =>
  z.union([
    known,
    z
      .string()
      .max(100)
      .transform((): W => other),
  ]);
