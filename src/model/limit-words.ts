import { type LimitName, limitOf } from './limits.ts';
import { exactBytes, exactDuration } from './quantity.ts';

/** Returns a limit's value as people write it in the configuration: `512m`, `10s`, `1,024`. */
export function limitInWords(name: LimitName, value: number): string {
  const { kind } = limitOf(name);
  return kind === 'size' ? exactBytes(value) : kind === 'time' ? exactDuration(value) : grouped(value);
}

/** Groups the digits of a number by thousands: `1,024`. Its fraction stays as it is. */
const grouped = (value: number): string => String(value).replace(/(?<!\.\d*)\B(?=(\d{3})+(?!\d))/g, ',');

/** Returns a limit's default in words, or what holds instead if no default is fixed. */
export function byItself(name: LimitName): string {
  const { default: value, otherwise = 'none' } = limitOf(name);
  return value === undefined ? otherwise : limitInWords(name, value);
}

/** Returns a limit's bounds in words: `16m to 1024g`. */
export function boundsOf(name: LimitName): string {
  const { min, max, bounds = '' } = limitOf(name);
  return min === undefined || max === undefined ? bounds : `${limitInWords(name, min)} to ${limitInWords(name, max)}`;
}
