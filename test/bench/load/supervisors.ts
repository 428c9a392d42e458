// A process of supervisors: each connection to the unix socket in its argument is one sandbox. Prints a line when it listens.
import { createServer } from 'node:net';
import { MadeUpSupervisors } from './made-up-supervisor.ts';

const [path] = process.argv.slice(2);
const supervisors = new MadeUpSupervisors();
createServer({ allowHalfOpen: false }, (socket) => supervisors.serve(socket)).listen({ path, backlog: 4_096 }, () => console.log('ready'));
