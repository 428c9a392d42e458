import { z } from 'zod';

/** A start-point's manifest.json in cyber-dojo's format; unknown keys are errors, as they are there. */
export const Manifest = z.strictObject({
  display_name: z.string().min(1),
  image_name: z.string().min(1),
  visible_filenames: z.array(z.string().min(1)).refine((names) => names.includes('cyber-dojo.sh'), 'must include cyber-dojo.sh'),
  filename_extension: z.union([z.string(), z.array(z.string()).min(1)]),
  hidden_filenames: z.array(z.string()).optional(),
  highlight_filenames: z.array(z.string()).optional(),
  progress_regexs: z.array(z.string()).optional(),
  tab_size: z.int().min(1).max(8).optional(),
  max_seconds: z.int().min(1).max(20).optional(),
  language: z.string().optional(),
  test_framework: z.string().optional(),
});
export type Manifest = z.infer<typeof Manifest>;
