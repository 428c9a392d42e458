import type { DriverPolicy } from '../../model/driver-kind.ts';
import type { SshSettings } from '../../drivers/transport/target.ts';

/** A node as it is configured. */
export interface NodeSettings {
  name: string;
  endpoint: string;
  /** Other managers of the swarm that the endpoint manages: asked when it does not answer. */
  managers?: readonly string[] | undefined;
  tls?: string | { ca: string; cert: string; key: string } | undefined;
  ssh?: SshSettings | undefined;
  labels: Readonly<Record<string, string>>;
  driver: DriverPolicy;
  /** Memory left free for the machine: bytes, or a share of it. */
  reserve: { bytes: number } | { share: number };
  /** Whether it may serve when its kernel enforces no memory limits. */
  withoutMemoryLimits: boolean;
  /** Sandboxes started at once; twice its CPUs if absent. */
  starts?: number | undefined;
  cordoned: boolean;
}
