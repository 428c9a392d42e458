/** Whose fault an error is: the caller's, a node's (engine, network, disk), or katafleet's own. */
export type Fault = 'user' | 'node' | 'system';

interface ErrorKind {
  fault: Fault;
  /** Whether the same call may succeed later or on another node, unchanged. */
  retry: boolean;
  http: number;
  /** Exit code of the command line, from sysexits(3) if one fits. */
  exit: number;
}

const user = (http: number, exit = 64): ErrorKind => ({ fault: 'user', retry: false, http, exit });
const node = (http = 503, exit = 69): ErrorKind => ({ fault: 'node', retry: true, http, exit });
const system = (http = 500, exit = 70): ErrorKind => ({ fault: 'system', retry: false, http, exit });

/** Every error that katafleet throws on purpose. A program that fails in its sandbox is an outcome, not an error. */
export const errorKinds = {
  'request.invalid': user(400),
  'request.conflict': user(409),
  'request.unknown': user(404),
  'request.forbidden': user(403, 77),
  'request.too_large': user(413),
  'request.media_type': user(415),
  'request.range': user(416),
  'request.too_slow': { ...user(408, 75), retry: true },
  'limits.invalid': user(400),
  'files.path': user(400),
  'files.too_large': user(413),
  'files.too_many': user(413),
  'files.no_space': user(413),
  'folder.missing': user(400, 66),
  'folder.empty': user(400, 66),
  'file.unreadable': user(400, 66),
  'output.unwritable': user(400, 73),
  'image.unknown': user(404, 66),
  'image.unsuitable': user(422, 65),
  'archive.invalid': user(422, 65),
  'archive.too_large': user(413, 65),
  'spool.no_space': system(507, 74),
  'rsync.off': user(400),
  'rsync.source': user(403, 77),
  'rsync.image': user(422, 65),
  'rsync.daemon': system(500, 78),
  'rsync.failed': node(),
  'recipe.unknown': user(404, 66),
  'recipe.invalid': user(400),
  'endpoint.invalid': user(400),
  'config.invalid': user(400, 78),
  'config.missing': user(400, 66),
  'engine.unreachable': node(),
  'engine.permission': { ...node(), retry: false, exit: 77 },
  'engine.certificate': { ...node(), retry: false },
  'engine.timeout': node(504),
  'engine.too_old': { ...node(), retry: false },
  'engine.limits': { ...node(), retry: false },
  'engine.disk_full': node(507),
  'engine.failed': node(502),
  'engine.conflict': node(409),
  'ssh.host_key': { ...node(), retry: false, exit: 76 },
  'ssh.refused': { ...node(), retry: false, exit: 77 },
  'docker.missing': { ...node(), retry: false },
  'gate.refused': { ...node(), retry: false, exit: 77 },
  'swarm.unavailable': { ...node(), retry: false },
  'compose.missing': { ...system(500, 69) },
  'deploy.failed': { ...node(), retry: false },
  'driver.unavailable': { ...node(), retry: false },
  'swarm.leaderless': node(),
  'swarm.locked': { ...node(), retry: false },
  'swarm.no_manager': { ...node(), retry: false },
  'node.unknown': user(404, 66),
  'node.lost': node(),
  'node.full': node(),
  'placement.impossible': user(422, 65),
  'queue.full': { ...user(429, 75), retry: true },
  'queue.deadline': { ...node(503, 75) },
  'run.unknown': user(404, 66),
  'run.cancelled': user(409, 130),
  'run.fatal': system(500, 70),
  'service.stopping': { ...system(503, 75), retry: true },
  'journal.locked': { ...system(503, 75), retry: true },
  'journal.broken': system(500, 74),
  'journal.full': { ...system(507, 74), retry: true },
  'journal.unavailable': { ...system(503, 75), retry: true },
  'journal.newer': system(500, 78),
  'answer.too_large': user(413, 65),
  'server.busy': { ...system(503, 75), retry: true },
  'server.address': { ...system(500, 71) },
  'server.unreachable': { ...system(503, 69), retry: true },
  'sandbox.failed': node(502),
  'kata.invalid': user(400),
  'kata.unknown': user(404, 66),
  'kata.exists': user(409, 73),
  'kata.busy': { ...system(503, 75), retry: true },
  'kata.storage': { ...system(507, 74), retry: true },
  'kata.git': system(500, 74),
  'bundle.invalid': user(400, 65),
  'protocol.broken': node(502),
  'build.failed': { ...node(500, 1), retry: false },
  'proof.failed': { ...user(422, 1) },
  'base.unavailable': { ...node(503), retry: false },
  'supervisor.missing': system(),
  internal: system(),
} as const satisfies Record<string, ErrorKind>;

export type ErrorCode = keyof typeof errorKinds;

/** An error with a code from {@link errorKinds}. Its message says what was expected, and what happened instead. */
export class KatafleetError extends Error {
  override readonly name = 'KatafleetError';
  readonly code: ErrorCode;
  /** What to do about it, as a sentence or a command; shown on a line of its own. */
  readonly hint: string | undefined;
  /** When the same call may be tried again, ms from now. */
  readonly retryAfterMs: number | undefined;

  constructor(
    code: ErrorCode,
    message: string,
    options: { cause?: unknown; hint?: string | undefined; retryAfterMs?: number | undefined } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.hint = options.hint;
    this.retryAfterMs = options.retryAfterMs;
  }

  get fault(): Fault {
    return errorKinds[this.code].fault;
  }

  get retry(): boolean {
    return errorKinds[this.code].retry;
  }

  get httpStatus(): number {
    return errorKinds[this.code].http;
  }

  get exitCode(): number {
    return errorKinds[this.code].exit;
  }
}

/** Returns a code as it was stored or sent: `internal` for one that only another release has. */
export const knownCode = (code: string): ErrorCode => (Object.hasOwn(errorKinds, code) ? (code as ErrorCode) : 'internal');

/** Returns the message of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
