import { RE2JS } from 're2js';
import { KatafleetError, messageOf } from '../../model/errors.ts';
import type { Light, LightRule, LightRules } from '../../model/lights.ts';
import { judgedOutput } from '../../model/output.ts';
import { type Outcome, outcomeFacts } from '../../model/outcome.ts';

const compiled = new Map<string, RE2JS>();

/** Compiles a multi-line pattern; each is compiled once. @throws recipe.invalid */
export function compilePattern(pattern: string): RE2JS {
  let expression = compiled.get(pattern);
  if (!expression) {
    try {
      expression = RE2JS.compile(pattern, RE2JS.MULTILINE);
    } catch (cause) {
      throw new KatafleetError('recipe.invalid', `the pattern ${JSON.stringify(pattern)} is not an RE2 expression: ${messageOf(cause)}`, {
        cause,
      });
    }
    compiled.set(pattern, expression);
  }
  return expression;
}

/** Returns the light of a step. If the outcome's kind leaves it to the rules, they judge the exit code, and the beginning and the end of what was printed. */
export function lightOf(rules: LightRules, outcome: Outcome, step: Parameters<typeof judgedOutput>[0]): Light {
  const { light } = outcomeFacts(outcome);
  if (light !== 'rules') return light;
  const code = outcome.kind === 'exited' ? outcome.code : undefined;
  const stdout = judgedOutput(step, 'stdout');
  const stderr = judgedOutput(step, 'stderr');
  const holds = (rule: LightRule) =>
    (rule.exit === undefined || (code !== undefined && rule.exit.includes(code))) &&
    (rule.stdout === undefined || compilePattern(rule.stdout).test(stdout)) &&
    (rule.stderr === undefined || compilePattern(rule.stderr).test(stderr)) &&
    (rule.output === undefined || compilePattern(rule.output).test(stdout) || compilePattern(rule.output).test(stderr));
  return rules.rules.find(holds)?.light ?? rules.otherwise;
}
