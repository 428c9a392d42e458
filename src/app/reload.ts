import { isDeepStrictEqual } from 'node:util';
import type { Config } from '../config/schema.ts';

/** The sections that a running katafleet takes over. Of `defaults` only what concerns nodes: it is part of their settings by now. */
const live = ['nodes', 'pools', 'profiles'] as const;

/** Takes over from a new configuration what can change while katafleet runs. */
export function reloaded(old: Config, given: Config): { config: Config; later: string[] } {
  const config = { ...old };
  for (const section of live) Object.assign(config, { [section]: given[section] });
  return { config, later: laterFields(old, given) };
}

/** Returns the fields that differ and are taken over at the next start only, such as `server.listen`. */
function laterFields(old: Config, given: Config): string[] {
  const sections = (Object.keys(given) as (keyof Config)[]).filter((section) => !live.some((one) => one === section));
  return sections.flatMap((section) => {
    const [before, now] = [old[section] as object, given[section] as object];
    const fields = [...new Set([...Object.keys(before), ...Object.keys(now)])];
    const differs = (field: string) =>
      !isDeepStrictEqual((before as Record<string, unknown>)[field], (now as Record<string, unknown>)[field]);
    return fields.filter((field) => differs(field) && !appliesToNodes(section, field)).map((field) => `${section}.${field}`);
  });
}

/** Whether a default only fills fields of nodes, which are compared themselves. */
const appliesToNodes = (section: string, field: string) => section === 'defaults' && field !== 'idleMemory';
