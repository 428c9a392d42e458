/** Whose fault an error is: the caller's, a node's (engine, network, disk), or katafleet's own. */
export type Fault = 'user' | 'node' | 'system';

interface ErrorKind {
  fault: Fault;
  /** Whether the same call may succeed later, or on another node, without a change by the caller. */
  retry: boolean;
  http: number;
  /** Exit code of the command line, after sysexits(3) where it has a fitting one. */
  exit: number;
}

const user = (http: number, exit = 64): ErrorKind => ({ fault: 'user', retry: false, http, exit });
const node = (http = 503, exit = 69): ErrorKind => ({ fault: 'node', retry: true, http, exit });
const system = (http = 500, exit = 70): ErrorKind => ({ fault: 'system', retry: false, http, exit });

/** Every error that katafleet raises on purpose. A program that fails in its sandbox is an outcome and not among them. */
export const errorKinds = {
  'request.invalid': user(400),
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
  'recipe.unknown': user(404, 66),
  'recipe.invalid': user(400),
  'endpoint.invalid': user(400),
  'engine.unreachable': node(),
  'engine.permission': { ...node(), retry: false, exit: 77 },
  'engine.too_old': { ...node(), retry: false },
  'engine.limits': { ...node(), retry: false },
  'engine.disk_full': node(507),
  'engine.failed': node(502),
  'engine.conflict': node(409),
  'sandbox.failed': node(502),
  'protocol.broken': node(502),
  'build.failed': { ...node(500, 1), retry: false },
  'proof.failed': { ...user(422, 1) },
  'base.unavailable': { ...node(503), retry: false },
  'supervisor.missing': system(),
  internal: system(),
} as const satisfies Record<string, ErrorKind>;

export type ErrorCode = keyof typeof errorKinds;

/** An error with a code from {@link errorKinds}: what was expected, what came, and what to do about it. */
export class KatafleetError extends Error {
  override readonly name = 'KatafleetError';
  readonly code: ErrorCode;
  /** What mends it, as a sentence or a command; shown on a line of its own. */
  readonly hint: string | undefined;

  constructor(code: ErrorCode, message: string, options: { cause?: unknown; hint?: string } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.hint = options.hint;
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

/** The message of whatever was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
