import { KatafleetError } from '../model/errors.ts';
import { sayOutcome, succeeded } from '../model/outcome.ts';
import type { RunRequest } from '../model/request.ts';
import type { RunResult } from '../model/result.ts';
import { compilePattern } from '../runs/attempt/lights.ts';
import type { Progress } from './base.ts';
import type { Recipe } from './recipe.ts';
import { startPointFiles } from './start-point.ts';

/** Time limit of one proof (ms); build machines may be slow. */
const proofMs = 60_000;

/** Runs an image's proofs and cases in sandboxes. @throws proof.failed at the first one whose result is not the declared one */
export async function prove(
  recipe: Recipe,
  image: string,
  run: (request: RunRequest) => Promise<RunResult>,
  progress: Progress,
): Promise<void> {
  const profile = { wallMs: proofMs };
  for (const { argv, stdout, hint } of recipe.proofs) {
    const result = await run({ image, files: [], steps: [{ argv }], profile, collect: false });
    const printed = result.steps[0]?.stdout.toString() ?? '';
    const good = succeeded(result.outcome) && (stdout === undefined || compilePattern(stdout).test(printed));
    if (!good)
      throw failed(
        recipe,
        `${argv.join(' ')}: ${sayOutcome(result.outcome)}${stdout ? `; its output was to match ${stdout}` : ''}`,
        result,
        hint,
      );
    progress(`proved: ${argv.join(' ')}`);
  }
  for (const { light, files } of recipe.cases) {
    const given = await startPointFiles(recipe.folder, recipe.start_point ?? '', files);
    const result = await run({ image, files: given, steps: [{ argv: recipe.command ?? [] }], profile, collect: false });
    if (result.light !== light)
      throw failed(recipe, `${files ?? 'the start-point'} was to be ${light} and is ${result.light ?? 'without a light'}`, result);
    progress(`proved: ${files ?? recipe.start_point} is ${light}`);
  }
}

function failed(recipe: Recipe, what: string, result: RunResult, hint?: string): KatafleetError {
  const printed = result.steps
    .flatMap((step) => [step.stdout.toString(), step.stderr.toString()])
    .join('')
    .trim()
    .slice(-2_000);
  return new KatafleetError(
    'proof.failed',
    `the image of ${recipe.name} fails a proof of its recipe: ${what}${printed ? `\n${printed}` : ''}`,
    { hint },
  );
}
