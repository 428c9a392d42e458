import { day, GiB, hour, KiB, MiB, minute, second, TiB } from '../base/units.ts';
import { KatafleetError } from './errors.ts';

/** Sizes and times in words. Packages for this read other units than the configuration does, or a bare number as ms. */

/** Units that {@link parseBytes} takes, the largest first. */
const sizeUnits = { g: GiB, m: MiB, k: KiB, b: 1, '': 1 } as const;
/** Units that {@link parseDuration} takes, the largest first. */
const timeUnits = { d: day, h: hour, m: minute, s: second, ms: 1 } as const;

/** Bytes of `512`, `64k`, `256m`, `1.5g` (powers of 1024, as Docker takes them). @throws limits.invalid */
export function parseBytes(text: string): number {
  const [, number, unit] = /^(\d+(?:\.\d+)?)\s*([bkmg]?)(?:i?b)?$/i.exec(text.trim()) ?? [];
  if (number === undefined) {
    throw new KatafleetError('limits.invalid', `"${text}" is not a size: expected a number and b, k, m or g, as in 256m`);
  }
  return safeInteger(Number(number) * sizeUnits[(unit ?? '').toLowerCase() as keyof typeof sizeUnits], text);
}

/** Milliseconds of `250ms`, `10s`, `1.5m`, `1h`, `7d`; a bare number is seconds. @throws limits.invalid */
export function parseDuration(text: string): number {
  const [, number, unit = 's'] = /^(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?$/i.exec(text.trim()) ?? [];
  if (number === undefined) {
    throw new KatafleetError('limits.invalid', `"${text}" is not a time: expected a number and ms, s, m, h or d, as in 10s`);
  }
  return safeInteger(Number(number) * timeUnits[unit.toLowerCase() as keyof typeof timeUnits], text);
}

function safeInteger(value: number, text: string): number {
  const rounded = Math.round(value);
  if (!Number.isSafeInteger(rounded)) throw new KatafleetError('limits.invalid', `"${text}" is too large`);
  return rounded;
}

/** The size as {@link parseBytes} takes it, exactly, in the largest unit that divides it: `512m`, `1000`. */
export const exactBytes = (bytes: number): string => inLargestUnit(bytes, { g: GiB, m: MiB, k: KiB, '': 1 });

/** The time as {@link parseDuration} takes it, exactly, in the largest unit that divides it: `100ms`, `10m`, `3650d`; 0 has none. */
export const exactDuration = (ms: number): string => inLargestUnit(ms, timeUnits);

function inLargestUnit(value: number, units: Readonly<Record<string, number>>): string {
  const fitting = Object.entries(units).find(([, factor]) => value > 0 && value % factor === 0);
  const [unit, factor] = fitting ?? ['', 1];
  return `${value / factor}${unit}`;
}

/** A size for people, rounded: `0 B`, `1.5 KiB`, `256 MiB`. */
export function formatBytes(bytes: number): string {
  const units = { TiB, GiB, MiB, KiB, B: 1 };
  const [unit, factor] = Object.entries(units).find(([, size]) => bytes >= size) ?? ['B', 1];
  const value = bytes / factor;
  return `${Number.isInteger(value) ? value : value.toFixed(1)} ${unit}`;
}

/** A time in ms for people, rounded: `4.2 ms`, `350 ms`, `1.25 s`. */
export function formatDuration(ms: number): string {
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  return ms < second ? `${Math.round(ms)} ms` : `${(ms / second).toFixed(2)} s`;
}

/** A time in ms in seconds, for messages: `30 s`, `1.5 s`. */
export const inSeconds = (ms: number): string => `${Math.round(ms / 100) / 10} s`;

/** How long ago, for people: `now`, `12 s`, `3 min`, `2 h`, `5 d`; `never` if undefined. `at` and `now`: ms. */
export function ago(at: number | undefined, now: number): string {
  if (at === undefined) return 'never';
  const seconds = Math.max(0, Math.round((now - at) / second));
  const since = seconds * second;
  if (seconds < 2) return 'now';
  if (since < 2 * minute) return `${seconds} s`;
  if (since < 2 * hour) return `${Math.round(since / minute)} min`;
  return since < 2 * day ? `${Math.round(since / hour)} h` : `${Math.round(since / day)} d`;
}
