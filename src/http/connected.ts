import type { FastifyRequest } from 'fastify';

/** Does work that ends early when the client has closed its connection: the work's signal aborts then. Leaves no listener behind. */
export async function whileConnected<T>({ raw: { socket } }: FastifyRequest, work: (gone: AbortSignal) => Promise<T>): Promise<T> {
  const gone = new AbortController();
  const leave = () => gone.abort();
  socket.once('close', leave);
  if (socket.destroyed) leave();
  try {
    return await work(gone.signal);
  } finally {
    socket.off('close', leave);
  }
}
