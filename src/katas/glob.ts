import { RE2JS } from 're2js';

/**
 * Compiles a glob to a test of paths, similar to .gitignore. A glob without `/` is compared with the last part of a path at any depth,
 * one with `/` with the whole path. `*` and `?` stay within a part, `**` is any number of parts, `{a,b}` is one of both, `[a-z]` and
 * `[!a-z]` are one character, `\` takes the next character literally, and a `/` at the end means a folder with its contents.
 *
 * Names come from hostile programs, so RE2 matches them: the time is linear in the name for every glob.
 * @throws Error with the fault in the glob
 */
export function compileGlob(glob: string): (path: string) => boolean {
  const folder = glob.endsWith('/');
  const body = folder ? glob.slice(0, -1) : glob;
  const parts = body.replace(/^\//, '').split('/');
  if (parts.some((part) => part === '' || part === '.' || part === '..')) throw new Error('has a part that is empty, "." or ".."');
  const anywhere = body.includes('/') ? '' : '(?:[^/]+/)*';
  const expression = parts.map((part, index) => partOf(part, index === parts.length - 1)).join('');
  const compiled = RE2JS.compile(`${anywhere}${expression}${folder ? '(?:/.*)?' : ''}`, RE2JS.DOTALL);
  return (path) => compiled.matches(path);
}

function partOf(part: string, last: boolean): string {
  if (part === '**') return last ? '.+' : '(?:[^/]+/)*';
  if (part.includes('**')) throw new Error('"**" must be a part of its own');
  return `${charactersOf(part)}${last ? '' : '/'}`;
}

function charactersOf(part: string): string {
  let expression = '';
  let braces = false;
  const tokens = /\\(?<escaped>.)|\[(?<not>!?)(?<range>[^\]]+)\]|(?<plain>.)/gsu;
  for (const { groups = {} } of part.matchAll(tokens)) {
    const { escaped, not, range, plain = '' } = groups;
    if (escaped !== undefined) expression += literal(escaped);
    else if (range !== undefined) expression += `[${not === '' ? '' : '^/'}${range.replace(/[\\^[]/g, '\\$&')}]`;
    else if (plain === '*') expression += '[^/]*';
    else if (plain === '?') expression += '[^/]';
    else if (plain === '{') {
      if (braces) throw new Error('has braces within braces');
      braces = true;
      expression += '(?:';
    } else if (plain === '}' && braces) {
      braces = false;
      expression += ')';
    } else expression += plain === ',' && braces ? '|' : literal(plain);
  }
  if (braces) throw new Error('has a "{" without "}"');
  return expression;
}

const literal = (text: string) => RE2JS.quote(text);
