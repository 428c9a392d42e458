// Runs a measurement that has the measured code in its own process: compiled, as the servers are. Arguments: its name, and its own arguments.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { compiled } from './compiled.ts';

const [name = '', ...args] = process.argv.slice(2);
const child = spawn(process.execPath, ['--expose-gc', '--enable-source-maps', await compiled(`../${name}`), ...args], { stdio: 'inherit' });
const [code] = (await once(child, 'exit')) as [number | null];
process.exitCode = code ?? 1;
