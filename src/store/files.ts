/** Which files a journal has. */

/** The folder of the segments of a database. */
export const segmentsFolder = (file: string): string => `${file.replace(/\.db$/, '')}.segments`;

export type SegmentKind = 'requests' | 'results';

/**
 * Returns the name of a new segment: its time in UTC, the opening of the journal in which it is made, who makes it (`m`ain thread or
 * `w`orker) and its number. So names are in the order of time, and no two openings use one name.
 */
export function segmentName(
  kind: SegmentKind,
  { now, epoch, by, number }: { now: number; epoch: number; by: 'm' | 'w'; number: number },
): string {
  const time = new Date(now).toISOString().replace(/[-:]|\.\d+/g, '');
  return `${time}-${epoch}-${by}${number}.${kind}`;
}

/** Takes the name of a segment apart; undefined for any other name. */
export function segmentOf(name: string): { epoch: number; kind: SegmentKind } | undefined {
  const [, epoch, kind] = /^[0-9TZ+-]+?-(\d+)-[mw]\d+\.(requests|results)$/.exec(name) ?? [];
  return epoch === undefined ? undefined : { epoch: Number(epoch), kind: kind as SegmentKind };
}
