import { formatBytes, formatDuration } from '../../model/quantity.ts';
import type { CopyEvent } from '../../images/deliver.ts';
import { escapeControls } from './terminal.ts';

/** The latest progress of a copy under way. */
interface CopyProgress {
  image: string;
  node: string;
  from: string;
  /** Bytes of the image on its source. */
  expected: number;
  bytes: number;
  since: number;
}

/** How often a copy gets a line if the output is not a terminal (ms). */
const everyMs = 10_000;
/** How often lines are redrawn on a terminal (ms). */
const redrawMs = 200;

/**
 * Returns text such as `12 MiB of 532 MiB, 2%, 40 MiB/s`. An archive is a little larger than its image, so 100% is only shown at the
 * end.
 */
export function progress({ bytes, expected, since }: Pick<CopyProgress, 'bytes' | 'expected' | 'since'>, now: number): string {
  const seconds = (now - since) / 1000;
  const rate = bytes > 0 && seconds >= 0.2 ? `, ${formatBytes(Math.round(bytes / seconds))}/s` : '';
  const share = expected > 0 ? ` of ${formatBytes(expected)}, ${Math.min(99, Math.floor((100 * bytes) / expected))}%` : '';
  return `${formatBytes(bytes)}${share}${rate}${expected > 0 && bytes >= expected ? ', unpacking' : ''}`;
}

/** Returns the line that stays for an event; undefined for mere progress. */
export function lineOf(event: CopyEvent): string | undefined {
  const what = `${event.image} → ${event.node}`;
  switch (event.kind) {
    case 'begun':
      return `${what}: from ${event.from}${event.attempt > 1 ? `, try ${event.attempt}` : ''}`;
    case 'passed':
      return undefined;
    case 'again':
      return `${what}: ${escapeControls(event.error.message)}; it begins again`;
    case 'done':
      return `${what}: ${formatBytes(event.bytes)} in ${formatDuration(event.ms)}`;
    case 'failed':
      return `${what}: failed: ${escapeControls(event.error.message)}${event.error.hint === undefined ? '' : ` (${escapeControls(event.error.hint)})`}`;
  }
}

/** Shows copies: redrawn in place on a terminal; elsewhere a line for each event and at intervals. */
export class TransferView {
  readonly #stream: NodeJS.WriteStream;
  readonly #sizes: ReadonlyMap<string, number>;
  readonly #now: () => number;
  readonly #running = new Map<string, CopyProgress>();
  #drawn = 0;
  #at = -Infinity;

  /** `sizes`: an image's bytes on its source, by the image's name. */
  constructor(stream: NodeJS.WriteStream, sizes: ReadonlyMap<string, number>, now: () => number = () => performance.now()) {
    this.#stream = stream;
    this.#sizes = sizes;
    this.#now = now;
  }

  tell(event: CopyEvent): void {
    const { node, image } = event;
    const running = this.#running.get(node);
    if (event.kind === 'begun') {
      const { from } = event;
      this.#running.set(node, { image, node, from, expected: this.#sizes.get(image) ?? 0, bytes: 0, since: this.#now() });
    } else if (event.kind === 'passed') {
      if (running) running.bytes = event.bytes;
    } else this.#running.delete(node);
    const line = lineOf(event);
    if (this.#stream.isTTY) {
      if (event.kind !== 'passed' || this.#now() - this.#at >= redrawMs) this.#draw(event.kind === 'begun' ? undefined : line);
    } else if (line !== undefined) {
      this.#at = this.#now();
      this.#stream.write(`${line}\n`);
    } else if (this.#now() - this.#at >= everyMs) this.#lines();
  }

  #lines(): void {
    this.#at = this.#now();
    for (const transfer of this.#running.values())
      this.#stream.write(`${transfer.image} → ${transfer.node}: ${progress(transfer, this.#at)}\n`);
  }

  #draw(line: string | undefined): void {
    this.#at = this.#now();
    const width = Math.max(20, (this.#stream.columns || 80) - 1);
    const lines = Array.from(this.#running.values(), (transfer) =>
      `  ${transfer.image} → ${transfer.node}: ${progress(transfer, this.#at)}`.slice(0, width),
    );
    const up = this.#drawn > 0 ? `\x1b[${this.#drawn}A` : '';
    const shown = [...(line === undefined ? [] : [line]), ...lines].map((text) => `\x1b[2K${text}\n`).join('');
    this.#stream.write(`${up}\r\x1b[J${shown}`);
    this.#drawn = lines.length;
  }
}
