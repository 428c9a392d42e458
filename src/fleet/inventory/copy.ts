import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { KatafleetError, messageOf } from '../../model/errors.ts';
import { canonicalImage } from '../../model/image-name.ts';
import type { Driver } from '../../drivers/contract.ts';

export interface CopyOptions {
  signal?: AbortSignal | undefined;
  /** Called at every piece with the number of bytes so far. */
  onBytes?: ((bytes: number) => void) | undefined;
  /** After this time without a byte the copy fails, ms; two minutes if absent. */
  stallMs?: number;
}

/**
 * Streams an image from one node to another, then asks the receiver whether it has the image. All copies use this function. A broken
 * copy does not disturb a later one: an engine takes an archive's layers or drops them.
 * @throws engine.unreachable if either side breaks off, engine.timeout if no byte comes for too long, engine.disk_full, engine.failed,
 *   the signal's reason
 */
export async function copyImage(
  name: string,
  from: Pick<Driver, 'endpoint' | 'exportImage'>,
  to: Pick<Driver, 'endpoint' | 'importImage' | 'images'>,
  { signal, onBytes, stallMs = 120_000 }: CopyOptions = {},
): Promise<void> {
  if (!from.exportImage) throw new KatafleetError('internal', `${from.endpoint} hands out no images`);
  if (!to.importImage) throw new KatafleetError('internal', `${to.endpoint} takes no images`);
  signal?.throwIfAborted();
  const source = await from.exportImage(name);
  if (signal?.aborted) {
    source.destroy();
    signal.throwIfAborted();
  }
  const stop = new AbortController();
  const stopped = () => stop.abort(signal?.reason);
  signal?.addEventListener('abort', stopped, { once: true });
  const stall = setTimeout(
    () => stop.abort(new KatafleetError('engine.timeout', `nothing has passed from ${from.endpoint} to ${to.endpoint} for ${stallMs} ms`)),
    stallMs,
  );
  let bytes = 0;
  const counted = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      stall.refresh();
      bytes += chunk.length;
      onBytes?.(bytes);
      done(null, chunk);
    },
    flush(done) {
      clearTimeout(stall); // the engine may unpack for long; if it goes away meanwhile, its driver breaks off the call
      done();
    },
  });
  const whose = (error: unknown): unknown => (stop.signal.aborted ? stop.signal.reason : brokenOff(from.endpoint, bytes, error));
  let faulty: unknown;
  let imported = false;
  const exported = pipeline(source, counted, { signal: stop.signal }).catch((error: unknown) => {
    if (!imported) faulty = whose(error);
  });
  try {
    await to.importImage(counted);
  } catch (error) {
    faulty = counted.errored === null ? error : whose(counted.errored);
  } finally {
    imported = true;
    // The rest of the stream is not needed: the engine has taken everything, or the copy has failed.
    counted.destroy();
    source.destroy();
    await exported;
    clearTimeout(stall);
    signal?.removeEventListener('abort', stopped);
  }
  if (faulty !== undefined) throw faulty instanceof Error ? faulty : new KatafleetError('engine.failed', messageOf(faulty));
  const wanted = canonicalImage(name);
  const there = (await to.images()).some(({ id, tags }) => id === name || tags.some((tag) => canonicalImage(tag) === wanted));
  if (!there) throw new KatafleetError('engine.failed', `${to.endpoint} took the image ${name} and does not show it`);
}

function brokenOff(endpoint: string, bytes: number, cause: unknown): KatafleetError {
  if (cause instanceof KatafleetError) return cause;
  return new KatafleetError('engine.unreachable', `${endpoint} broke off after ${bytes} bytes of the image: ${messageOf(cause)}`, {
    cause,
  });
}
