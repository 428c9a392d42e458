import { KatafleetError } from '../model/errors.ts';

export type Variables = Readonly<Record<string, string | undefined>>;

/**
 * Fills in the variables in the texts of a YAML value, as Docker does: `${NAME}`, `${NAME:-default}` if it is unset or empty, `$$` for
 * a dollar. Keys stay as they are.
 * @throws config.invalid for any other dollar, and for a variable without value or default
 */
export function interpolate(value: unknown, variables: Variables, at = ''): unknown {
  if (typeof value === 'string') return fill(value, variables, at);
  if (Array.isArray(value)) return value.map((inner, index) => interpolate(inner, variables, `${at}[${index}]`));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) => [key, interpolate(inner, variables, at === '' ? key : `${at}.${key}`)]),
  );
}

function fill(text: string, variables: Variables, at: string): string {
  return text.replace(/\$(?:\$|\{([A-Za-z_]\w*)(?::-([^}]*))?\})?/g, (whole, name: string | undefined, otherwise: string | undefined) => {
    if (whole === '$$') return '$';
    if (name === undefined) throw fault(at, `expected \${NAME}, \${NAME:-default} or $$ in ${JSON.stringify(text)}`);
    const found = variables[name] || otherwise;
    if (found === undefined) throw fault(at, `the variable ${name} is not set and has no default`);
    return found;
  });
}

const fault = (at: string, message: string) => new KatafleetError('config.invalid', `${at}: ${message}`);
