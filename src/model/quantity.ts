import { KatafleetError } from './errors.ts';

const sizeUnits = { '': 1, b: 1, k: 1024, m: 1024 ** 2, g: 1024 ** 3 } as const;
const timeUnits = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;

/** Bytes of `512`, `64k`, `256m`, `1.5g` (powers of 1024, as Docker takes them). @throws limits.invalid */
export function parseBytes(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([bkmg]?)(?:i?b)?$/i.exec(text.trim());
  const unit = match?.[2]?.toLowerCase() as keyof typeof sizeUnits | undefined;
  if (!match || unit === undefined) {
    throw new KatafleetError('limits.invalid', `"${text}" is not a size: expected a number and b, k, m or g, as in 256m`);
  }
  return safeInteger(Math.round(Number(match[1]) * sizeUnits[unit]), text);
}

/** Milliseconds of `250ms`, `10s`, `1.5m`, `1h`, `7d`; a bare number is seconds. @throws limits.invalid */
export function parseDuration(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?$/i.exec(text.trim());
  if (!match) {
    throw new KatafleetError('limits.invalid', `"${text}" is not a time: expected a number and ms, s, m, h or d, as in 10s`);
  }
  const unit = (match[2]?.toLowerCase() ?? 's') as keyof typeof timeUnits;
  return safeInteger(Math.round(Number(match[1]) * timeUnits[unit]), text);
}

/** A size for people: `0 B`, `1.5 KiB`, `256 MiB`. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${Number.isInteger(value) ? value : value.toFixed(1)} ${units[unit] ?? 'B'}`;
}

/** A time in ms for people: `4.2 ms`, `350 ms`, `1.25 s`. */
export function formatDuration(ms: number): string {
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(2)} s`;
}

function safeInteger(value: number, text: string): number {
  if (!Number.isSafeInteger(value)) throw new KatafleetError('limits.invalid', `"${text}" is too large`);
  return value;
}
