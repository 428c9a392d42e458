import type { Command } from 'commander';
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import type { z } from 'zod';
import { program } from '../../src/cli/program.ts';
import { errorKinds } from '../../src/model/errors.ts';
import { RecordJson } from '../../src/model/json.ts';
import { NodeDetail } from '../../src/model/node.ts';
import { outcomeKinds } from '../../src/model/outcome.ts';
import { RunState } from '../../src/model/record.ts';
import { omissions } from '../../src/model/result.ts';
import { NodeVerdict } from '../../src/model/verdict.ts';
import { views } from '../../src/model/views.ts';
import { buildApp } from '../../src/http/app.ts';
import type { AppServices } from '../../src/http/services.ts';
import { checkJob } from '../../src/runs/job.ts';
import { requestOf, RunJson } from '../../src/model/request-json.ts';

/** The names of all fields of a schema, at any depth. */
function fieldsOf(schema: z.core.$ZodType): string[] {
  const { shape = {}, options = [], ...more } = schema._zod.def as z.core.$ZodTypeDef & Record<string, unknown> & Inner;
  const inner = ['innerType', 'element', 'valueType', 'in'].flatMap((key) => (more[key] as z.core.$ZodType | undefined) ?? []);
  return [...Object.entries(shape).flatMap(([name, field]) => [name, ...fieldsOf(field)]), ...[...options, ...inner].flatMap(fieldsOf)];
}
interface Inner {
  shape?: Record<string, z.core.$ZodType>;
  options?: z.core.$ZodType[];
}

const page = (name: string) => readFileSync(new URL(`../../docs/${name}`, import.meta.url), 'utf8');
/** Rows of a page's tables, their cells without padding. */
const rows = (name: string) =>
  page(name)
    .split('\n')
    .filter((line) => line.startsWith('| '))
    .map((line) =>
      line
        .slice(1, -1)
        .split(' | ')
        .map((cell) => cell.trim()),
    );

describe('the pages tell what the code does', () => {
  it('api.md: every error with its status, fault, retry and exit code', () => {
    const told = rows('api.md').filter(([code]) => /^`[a-z_]+\.[a-z_]+`$|^`internal`$/.test(code ?? ''));
    const expected = Object.entries(errorKinds).map(([code, { http, fault, retry, exit }]) => [
      `\`${code}\``,
      String(http),
      fault,
      retry ? 'yes' : 'no',
      String(exit),
    ]);
    assert.deepEqual(
      told.map((cells) => cells.slice(0, 5)),
      expected,
    );
    assert.ok(told.every(([, , , , , what]) => (what ?? '').length > 5));
  });

  it('api.md: every route, and no other', async () => {
    const told = rows('api.md').flatMap(([route]) =>
      [...(route ?? '').matchAll(/`(GET|POST|DELETE) ([^`?]+)[^`]*`/g)].map(([, method, path]) => `${method ?? ''} ${path ?? ''}`),
    );
    const routes: string[] = [];
    const onRoute = (method: string, path: string) => void routes.push(`${method} ${path}`);
    await buildApp({} as AppServices, { bodyLimit: 1, hosts: { loopbackOnly: true, names: [] }, onRoute }).ready();
    const named = routes.map((route) =>
      route.replace(':id', 'ID').replace('maintenance/:name', 'maintenance/JOB').replace(':name', 'NAME'),
    );
    assert.deepEqual(told.toSorted(), named.filter((route) => !route.startsWith('HEAD')).toSorted());
  });

  it('api.md: every field of a list’s query', () => {
    for (const [path, { query }] of Object.entries(views)) {
      const [, told = ''] = new RegExp(`\`GET ${path}(?:\\?([^\`]*))?\``).exec(page('api.md')) ?? assert.fail(`${path} is not there`);
      const names = [...new URLSearchParams(told).keys()];
      assert.deepEqual(names.toSorted(), Object.keys(query.shape).toSorted(), path);
    }
  });

  it('api.md: the example of a run is one', () => {
    const [example = ''] = [...page('api.md').matchAll(/```json\n([^]*?)```/g)].map(([, json]) => json ?? '');
    const json = RunJson.parse(JSON.parse(example));
    assert.equal(checkJob(requestOf(json, {})).request.files.length, 2);
    const fields = rows('api.md').map(([field]) => field);
    for (const field of Object.keys(RunJson.shape)) assert.ok(fields.includes(`\`${field}\``), field);
  });

  it('api.md: every state of a run, and every kind of outcome and omission', () => {
    const text = page('api.md');
    for (const name of [...RunState.options, ...outcomeKinds, ...omissions]) assert.ok(text.includes(`\`${name}\``), name);
  });

  it('api.md: every field of an answer', () => {
    const text = page('api.md');
    const code = [...text.matchAll(/```json\n[^]*?```|`[^`]+`/g)].join('\n');
    const answers = [...Object.values(views).map(({ answer }) => answer), RecordJson, NodeDetail, NodeVerdict];
    // "The same holds for stderr."
    const names = [...new Set(answers.flatMap(fieldsOf))];
    assert.ok(names.length > 100);
    const missing = names.filter((name) => !new RegExp(`\\b${name.replace('stderr', 'stdout')}\\b`).test(code));
    assert.deepEqual(missing, []);
  });

  it('api.md: every example is JSON', () => {
    for (const [, json = ''] of page('api.md').matchAll(/```json\n([^]*?)```/g))
      assert.doesNotThrow(() => JSON.parse(json) as unknown, json);
  });

  it('cli.md: a heading for every command, and for no other', async () => {
    const headings = [...page('cli.md').matchAll(/^## katafleet (.+)$/gm)].flatMap(([, heading = '']) => heading.split(' · '));
    const told = headings.map((heading) => heading.replace(/ [[A-Z].*/, ''));
    const visit = (command: Command, path: string): string[] =>
      command.commands.flatMap((child) => [`${path}${child.name()}`, ...visit(child, `${path}${child.name()} `)]);
    // They only hold other commands.
    const groups = ['config', 'kata'];
    const names = visit(await program(), '').filter((name) => !groups.includes(name));
    assert.deepEqual(told.toSorted(), names.toSorted());
  });
});
