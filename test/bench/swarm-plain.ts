// Times of the swarm's own replacement, for test/bench/swarm.ts: of tasks that connect when they begin and end with their
// connection, measured as katafleet's are: from the end of one to the first word of the next.
//   swarm-plain.ts PORT ROUNDS   prints the times in ms, a JSON array
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';

const [port, rounds] = process.argv.slice(2).map(Number);
const times: number[] = [];
const server = createServer().listen(port, '0.0.0.0');
let ended: number | undefined;
while (times.length < (rounds ?? 0)) {
  const [socket] = (await once(server, 'connection')) as [Socket];
  if (ended !== undefined) times.push(performance.now() - ended);
  socket.resume();
  await once(socket, 'close');
  ended = performance.now();
}
server.close();
process.stdout.write(JSON.stringify(times));
