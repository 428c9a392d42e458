import { type LimitName, limitOf } from './limits.ts';

const sizes = { g: 1024 ** 3, m: 1024 ** 2, k: 1024 } as const;
const times = { d: 86_400_000, h: 3_600_000, m: 60_000, s: 1_000, ms: 1 } as const;

/** Largest unit of which it is a whole number; 0 and what has none of them is plain. */
function inUnits(value: number, units: Record<string, number>): string {
  const unit = Object.entries(units).find(([, factor]) => value > 0 && value % factor === 0);
  return unit ? `${value / unit[1]}${unit[0]}` : value.toLocaleString('en');
}

/** A value of a limit as people write it in the configuration: `512m`, `10s`, `1,024`. */
export function limitInWords(name: LimitName, value: number): string {
  const { kind } = limitOf(name);
  return inUnits(value, kind === 'size' ? sizes : kind === 'time' ? times : {});
}

/** The default of a limit, in words; what holds instead where none is fixed. */
export function byItself(name: LimitName): string {
  const { default: value, otherwise = 'none' } = limitOf(name);
  return value === undefined ? otherwise : limitInWords(name, value);
}

/** The bounds of a limit, in words: `16m to 1024g`. */
export function boundsOf(name: LimitName): string {
  const { min, max, bounds = '' } = limitOf(name);
  return min === undefined || max === undefined ? bounds : `${limitInWords(name, min)} to ${limitInWords(name, max)}`;
}
