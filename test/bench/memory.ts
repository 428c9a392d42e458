// A katafleet with idle sandboxes in a process of its own: prints its resident bytes. Arguments: endpoint, image, idle.
import { Katafleet } from '../../src/app/library.ts';

const [endpoint = '', image = '', idle = '0'] = process.argv.slice(2);
await using fleet = new Katafleet({ endpoint });
await fleet.warm(image, Number(idle), { memory: 32 * 1024 * 1024 });
// What a process holds when it has rested; collecting is what the engine does by itself under pressure.
globalThis.gc?.();
console.log(process.memoryUsage().rss);
