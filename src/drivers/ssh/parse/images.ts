import { malformed } from './malformed.ts';
import { shownBytes } from './quantity.ts';

export interface ListedImage {
  /** `sha256:` and 64 hex digits, also where docker leaves the prefix out. */
  id: string;
  tags: string[];
  /** Bytes; 0 if unknown. */
  size: number;
}

const columns = ['REPOSITORY', 'TAG', 'IMAGE ID', 'CREATED'] as const;

/**
 * Parses `docker images --no-trunc`, a table whose columns begin where their headings do: VIRTUAL SIZE up to 1.9, SIZE later.
 * An image with several names has a line for each. @throws engine.failed
 */
export function parseImages(text: string): ListedImage[] {
  const [head = '', ...lines] = text.split('\n').filter((line) => line.trim() !== '');
  const starts = columns.map((name) => head.indexOf(name));
  const sizeAt = head.search(/(VIRTUAL )?SIZE\s*$/);
  const order = [...starts, sizeAt];
  if (order.some((at, index) => at < 0 || at <= (order[index - 1] ?? -1))) {
    throw malformed('images', `a table headed ${columns.join(', ')} and SIZE`, head);
  }
  const images = new Map<string, ListedImage>();
  for (const line of lines) {
    const [repository = '', tag = '', id = '', , size = ''] = order.map((at, index) => line.slice(at, order[index + 1]).trim());
    const digits = /^(?:sha256:)?([0-9a-f]{64})$/.exec(id)?.[1];
    if (digits === undefined || repository === '') throw malformed('images', 'a line with a whole id', line);
    const image = images.get(digits) ?? { id: `sha256:${digits}`, tags: [], size: shownBytes(size) ?? 0 };
    if (repository !== '<none>' && tag !== '<none>' && tag !== '') image.tags.push(`${repository}:${tag}`);
    images.set(digits, image);
  }
  return Array.from(images.values());
}
