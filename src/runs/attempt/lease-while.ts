import type { Lease } from '../../fleet/node/sandboxes.ts';

/** Calls `body` while a lease is waited for. If `body` throws, returns the lease. @throws what `body` and the lease throw */
export async function leaseWhile(leasing: Promise<Lease>, body: () => void): Promise<Lease> {
  try {
    body();
  } catch (error) {
    // The error of `body` is thrown; it waits for the lease, because katafleet must not end while a sandbox is being made.
    await leasing.then(
      (lease) => void lease.release().catch(() => undefined),
      () => undefined,
    );
    throw error;
  }
  return leasing;
}
