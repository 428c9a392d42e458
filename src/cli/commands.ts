import type { Command } from 'commander';
import type { At } from './where.ts';

/** A command as the list of commands shows it. Its own file has the rest and is loaded only when the command is used. */
export interface CommandEntry {
  name: string;
  /** The text after its name, as commander derives it from its options and arguments. */
  usage: string;
  summary: string;
  load: (at: At, root: Command) => Promise<Command>;
}

const decision = (name: 'cordon' | 'drain' | 'uncordon', summary: string): CommandEntry => ({
  name,
  usage: '[options] <node>',
  summary,
  load: async (at) => (await import('./commands/nodes.ts')).cordonCommand(at, name, summary),
});

export const commands: readonly CommandEntry[] = [
  {
    name: 'run',
    usage: '[options] <dir> [cmd...]',
    summary: 'run a command on a folder of files in a fresh sandbox',
    load: async (at) => (await import('./commands/run.ts')).runCommand(at),
  },
  {
    name: 'serve',
    usage: '[options]',
    summary: 'serve the API: runs, journal, maintenance',
    load: async (at) => (await import('./commands/serve.ts')).serveCommand(at),
  },
  {
    name: 'nodes',
    usage: '[options]',
    summary: 'show the nodes: state, driver, memory, sandboxes',
    load: async (at) => (await import('./commands/nodes.ts')).nodesCommand(at),
  },
  decision('cordon', 'send no new runs to a node, or to one machine of a swarm'),
  decision('drain', 'send no new runs to a node, let its runs end, remove its idle sandboxes'),
  decision('uncordon', 'use a node again'),
  {
    name: 'images',
    usage: '[options] [command]',
    summary: 'show which node has which image; build and distribute images',
    load: async (at) => (await import('./commands/images.ts')).imagesCommand(at),
  },
  {
    name: 'kata',
    usage: '[options] [command]',
    summary: 'work on exercises whose tests are stored in git',
    load: async (at) => (await import('./commands/kata.ts')).kataCommand(at),
  },
  {
    name: 'explain',
    usage: '[options] [run-or-spec]',
    summary: 'show why a run is placed on a node, and why not on the others',
    load: async (at) => (await import('./commands/explain.ts')).explainCommand(at),
  },
  {
    name: 'maintenance',
    usage: '[options] [command]',
    summary: 'show the maintenance jobs: schedule and last result',
    load: async (at) => (await import('./commands/maintenance.ts')).maintenanceCommand(at),
  },
  {
    name: 'deploy',
    usage: '[options]',
    summary: 'deploy katafleet as a service of a swarm, or on one host by Compose',
    load: async (at) => (await import('./commands/deploy.ts')).deployCommand(at),
  },
  {
    name: 'undeploy',
    usage: '[options]',
    summary: 'remove a deployed katafleet and all its objects',
    load: async (at) => (await import('./commands/deploy.ts')).undeployCommand(at),
  },
  {
    name: 'config',
    usage: '[options] [command]',
    summary: 'check or show katafleet.yaml',
    load: async (at) => (await import('./commands/config.ts')).configCommand(at),
  },
  {
    name: 'doctor',
    usage: '[options]',
    summary: 'check this machine and its nodes, and print what is missing',
    load: async (at) => (await import('./commands/doctor.ts')).doctorCommand(at),
  },
  {
    name: 'completion',
    usage: '[options] <shell>',
    summary: 'print a script that completes commands and options in bash, zsh or fish',
    load: async (_at, root) => (await import('./commands/completion.ts')).completionCommand(root),
  },
];
