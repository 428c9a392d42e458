import type { DriverPolicy } from '../../model/driver-kind.ts';
import type { SshSettings } from '../../drivers/transport/target.ts';

/** A node's configuration. */
export interface NodeSettings {
  name: string;
  endpoint: string;
  /** Other managers of the endpoint's swarm. They are asked if the endpoint does not answer. */
  managers?: readonly string[] | undefined;
  tls?: string | { ca: string; cert: string; key: string } | undefined;
  ssh?: SshSettings | undefined;
  labels: Readonly<Record<string, string>>;
  driver: DriverPolicy;
  /** Memory that stays free for the machine: bytes, or a share of it. */
  reserve: { bytes: number } | { share: number };
  /** Whether the node may serve although its kernel enforces no memory limits. */
  withoutMemoryLimits: boolean;
  /** How many sandboxes may start at once; twice the node's CPUs if absent. */
  starts?: number | undefined;
  cordoned: boolean;
}
