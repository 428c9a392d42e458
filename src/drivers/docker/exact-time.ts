/** Returns a time as an engine writes it (RFC 3339 with up to nine digits of a second) in Unix ms with a fraction; undefined if it is none. */
export function exactTime(text: string): number | undefined {
  const [, seconds, fraction = '', zone] = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d{1,9})?(Z|[+-]\d\d:\d\d)$/.exec(text) ?? [];
  const ms = Date.parse(`${seconds}${zone}`);
  return Number.isNaN(ms) ? undefined : ms + Number(`0${fraction}`) * 1_000;
}
