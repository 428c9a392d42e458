import type { Command } from 'commander';
import type { At } from './where.ts';

/** A command as the list of all shows it; the rest is in a file of its own, which is read only when the command is meant. */
export interface CommandEntry {
  name: string;
  /** What is said behind its name, as commander derives it from its options and arguments. */
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
    summary: 'run a command over a folder of files, in a fresh sandbox',
    load: async (at) => (await import('./commands/run.ts')).runCommand(at),
  },
  {
    name: 'serve',
    usage: '[options]',
    summary: 'katafleet as a service: API, journal, maintenance',
    load: async (at) => (await import('./commands/serve.ts')).serveCommand(at),
  },
  {
    name: 'nodes',
    usage: '[options]',
    summary: 'the nodes: state, driver, memory, sandboxes',
    load: async (at) => (await import('./commands/nodes.ts')).nodesCommand(at),
  },
  decision('cordon', 'send no new runs to a node, or to one machine of a swarm'),
  decision('drain', 'let a node finish, refuse it new runs, empty its pools'),
  decision('uncordon', 'use a node again'),
  {
    name: 'images',
    usage: '[options] [command]',
    summary: 'which image is on which node; build, distribute',
    load: async (at) => (await import('./commands/images.ts')).imagesCommand(at),
  },
  {
    name: 'kata',
    usage: '[options] [command]',
    summary: 'exercises whose participants’ work is kept in git',
    load: async (at) => (await import('./commands/kata.ts')).kataCommand(at),
  },
  {
    name: 'explain',
    usage: '[options] [run-or-spec]',
    summary: 'why a run goes where it goes, node by node',
    load: async (at) => (await import('./commands/explain.ts')).explainCommand(at),
  },
  {
    name: 'maintenance',
    usage: '[options] [command]',
    summary: 'what comes round by itself: when, and how it went',
    load: async (at) => (await import('./commands/maintenance.ts')).maintenanceCommand(at),
  },
  {
    name: 'deploy',
    usage: '[options]',
    summary: 'katafleet as a service of a swarm, or of one host by Compose',
    load: async (at) => (await import('./commands/deploy.ts')).deployCommand(at),
  },
  {
    name: 'undeploy',
    usage: '[options]',
    summary: 'take away what deploy made, and what that made in the swarm',
    load: async (at) => (await import('./commands/deploy.ts')).undeployCommand(at),
  },
  {
    name: 'config',
    usage: '[options] [command]',
    summary: 'katafleet.yaml: check it, show it',
    load: async (at) => (await import('./commands/config.ts')).configCommand(at),
  },
  {
    name: 'doctor',
    usage: '[options]',
    summary: 'look at this machine and its nodes, and say what is missing',
    load: async (at) => (await import('./commands/doctor.ts')).doctorCommand(at),
  },
  {
    name: 'completion',
    usage: '[options] <shell>',
    summary: 'a script that completes commands and options in bash, zsh or fish',
    load: async (_at, root) => (await import('./commands/completion.ts')).completionCommand(root),
  },
];
