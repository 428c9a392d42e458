import type { Lease } from '../../fleet/node/sandboxes.ts';

/** Waits for a lease, and calls `body` meanwhile. If `body` throws, the lease is given back. @throws what `body` and the lease throw */
export async function leaseWhile(leasing: Promise<Lease>, body: () => void): Promise<Lease> {
  try {
    body();
  } catch (error) {
    // The first error is the one to tell; and katafleet does not end while a sandbox is being made.
    await leasing.then(
      (lease) => void lease.release().catch(() => undefined),
      () => undefined,
    );
    throw error;
  }
  return leasing;
}
