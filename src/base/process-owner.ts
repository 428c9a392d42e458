import { readFileSync, readlinkSync } from 'node:fs';

/**
 * Returns the label's value for the process that made a container: boot, PID namespace, PID and start time. Only on the same machine
 * can katafleet check whether that process still lives; elsewhere the deadline decides. Undefined without /proc.
 */
export function ownerOf(pid: number | 'self'): string | undefined {
  try {
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    const namespace = readlinkSync(`/proc/self/ns/pid`);
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The name in parentheses may have any characters. The start time is the 20th field after it. Source: proc(5).
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    if (fields[0] === 'Z') return undefined;
    return [boot, namespace, stat.split(' ', 1)[0], fields[19]].join('/');
  } catch {
    return undefined; // the process has ended, or this is not Linux
  }
}

/** Whether the owner was a process of this machine and this PID namespace, and has ended. */
export function ownerIsGone(owner: string, self: string | undefined = ownerOf('self')): boolean {
  if (self === undefined) return false;
  const [boot, namespace, pid] = owner.split('/');
  const [ownBoot, ownNamespace] = self.split('/');
  if (boot !== ownBoot || namespace !== ownNamespace) return false;
  return ownerOf(Number(pid)) !== owner;
}
