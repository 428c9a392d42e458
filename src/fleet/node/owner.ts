import { readFileSync, readlinkSync } from 'node:fs';

/**
 * Which process made a container, as a label's value: boot, PID namespace, PID and start time. Whether that process
 * still lives can be told on the same machine only; elsewhere the deadline decides. Undefined where there is no /proc.
 */
export function ownerOf(pid: number | 'self'): string | undefined {
  try {
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    const namespace = readlinkSync(`/proc/self/ns/pid`);
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The name in parentheses may hold anything; the start time is the 20th field after it. Source: proc(5).
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    if (fields[0] === 'Z') return undefined;
    return [boot, namespace, stat.split(' ', 1)[0], fields[19]].join('/');
  } catch {
    return undefined; // the process is gone, or this is no Linux
  }
}

/** Whether the owner is a process of this machine and this PID namespace that no longer lives. */
export function ownerIsGone(owner: string, self: string | undefined = ownerOf('self')): boolean {
  if (self === undefined) return false;
  const [boot, namespace, pid] = owner.split('/');
  const [ownBoot, ownNamespace] = self.split('/');
  if (boot !== ownBoot || namespace !== ownNamespace) return false;
  return ownerOf(Number(pid)) !== owner;
}
