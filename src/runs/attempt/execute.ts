import { MiB } from '../../base/units.ts';
import { KatafleetError } from '../../model/errors.ts';
import type { Stream } from '../../model/output.ts';
import { eachLimit, ownLimits } from '../../model/limits.ts';
import type { Profile } from '../../model/profile.ts';
import type { Outcome } from '../../model/outcome.ts';
import type { OnOutput, Step } from '../../model/request.ts';
import type { StepResult } from '../../model/result.ts';
import type { Conversation } from '../../protocol/conversation.ts';
import { ability, type RawResult } from '../../protocol/replies.ts';
import { encodeData, encodeExec, encodeStdin } from '../../protocol/requests.ts';
import { encodeFrame, hostFrame } from '../../protocol/frames.ts';
import type { OutputRoom } from '../room/output-budget.ts';
import { fieldsOf, StepOutput, tailOf } from './step-output.ts';

/** Most bytes of a step's standard input: STDIN's bound in docs/protocol.md. */
export const mostStdin = 64 * MiB;
/** The errno of FAIL (E2BIG) if the supervisor's memory of names is full, and not the sandbox's disk. */
const tooManyNames = 7;

/** Runs one step until it ends. Reads nothing after RESULT. @throws request.invalid, sandbox.failed, protocol.broken */
export async function executeStep(
  conversation: Conversation,
  index: number,
  step: Step,
  profile: Profile,
  options: {
    collect: boolean;
    /** For katafleet's own steps, and if the profile has a network. */
    keepNetwork?: boolean;
    /** Most processes of the sandbox's uid on the whole node, if the container has no pids limit; 0 or absent means no such limit. */
    processes?: number;
    signal?: AbortSignal | undefined;
    onOutput?: OnOutput | undefined;
    onStarted?: () => void;
    /** Counts the output; if absent, all output is kept. */
    output?: OutputRoom | undefined;
  },
): Promise<StepResult> {
  const limits = limitsOf(step, profile);
  await sendStep(conversation, index, step, limits, options);
  const printed = {
    stdout: new StepOutput(conversation, limits.stdout, options.output),
    stderr: new StepOutput(conversation, limits.stderr, options.output),
  };
  const tell = async (stream: Stream, bytes: Buffer) => {
    if (bytes.length > 0) await options.onOutput?.(index, stream, bytes);
  };
  const kill = () => void conversation.send(encodeFrame(hostFrame.kill)).catch(() => undefined); // next() reports a lost stream
  if (options.signal?.aborted) kill();
  options.signal?.addEventListener('abort', kill, { once: true });
  try {
    for (;;) {
      const reply = await conversation.next();
      switch (reply.kind) {
        case 'started':
          options.onStarted?.();
          break;
        case 'output':
          await tell(reply.stream, printed[reply.stream].add(reply.bytes));
          break;
        case 'cut':
          printed[reply.stream].cut();
          break;
        case 'tail':
          printed[reply.stream].addTail(reply.bytes);
          break;
        case 'result': {
          if (reply.step !== index) throw conversation.break(`the result of step ${reply.step}, not ${index}`);
          const stdout = printed.stdout.done(reply.stdoutBytes);
          const stderr = printed.stderr.done(reply.stderrBytes);
          await tell('stdout', stdout.rest);
          await tell('stderr', stderr.rest);
          return {
            outcome: outcomeOf(reply),
            wallMs: reply.wallNs / 1e6,
            userMs: reply.userNs / 1e6,
            systemMs: reply.systemNs / 1e6,
            peakMemory: reply.peakMemory,
            oomKills: reply.oomKills,
            ...fieldsOf(stdout, stderr),
            ...(reply.how === 'exited' ? { exitCode: reply.code } : {}),
          };
        }
        case 'fail':
          throw failure(reply);
        default:
          throw conversation.break(`"${reply.kind}" while a step runs`);
      }
    }
  } finally {
    options.signal?.removeEventListener('abort', kill);
  }
}

/** Returns environment variables in the form of execve(2). */
export const variablesOf = (env: Readonly<Record<string, string>>): string[] =>
  Object.entries(env).map(([name, value]) => `${name}=${value}`);

async function sendStep(
  conversation: Conversation,
  index: number,
  step: Step,
  limits: Profile,
  { collect, keepNetwork = false, processes = 0 }: { collect: boolean; keepNetwork?: boolean; processes?: number },
): Promise<void> {
  const exec = encodeExec({
    step: index,
    keepNetwork,
    collect,
    ipc: limits.shm !== 0 || !conversation.can(ability.ipc),
    ...(conversation.can(ability.tail) ? { tails: { stdout: tailOf(limits.stdout), stderr: tailOf(limits.stderr) } } : {}),
    processes,
    cwd: step.cwd ?? '',
    argv: step.argv,
    env: variablesOf(step.env),
    ...limits, // last: V8 adds each field behind a spread one by one, which takes longer than all the rest of EXEC
  });
  if (!exec) throw new KatafleetError('internal', `step ${index + 1} was not checked: it does not fit into one frame`);
  if (step.stdin) {
    await conversation.queue(encodeStdin(step.stdin.length));
    for (const data of encodeData(step.stdin)) await conversation.queue(data);
  }
  await conversation.send(exec);
}

/** Returns the profile with the step's own limits. */
function limitsOf({ limits }: Step, profile: Profile): Profile {
  return { ...profile, ...eachLimit(ownLimits, (name) => limits?.[name] ?? profile[name]) };
}

/** Out of memory comes first: the other signs follow from the process that the kernel killed. */
function outcomeOf(result: RawResult): Outcome {
  if (result.oomKills > 0) return { kind: 'out_of_memory' };
  switch (result.how) {
    case 'exited':
      return { kind: 'exited', code: result.code };
    case 'signalled':
      return { kind: 'signalled', signal: result.code };
    case 'wall':
    case 'cpu':
      return { kind: 'timed_out', clock: result.how };
    case 'killed':
      return { kind: 'cancelled' };
    case 'disk':
      return { kind: 'out_of_disk' };
  }
}

/** Converts FAIL to an error. */
export function failure(reply: { reason: string; errno: number; message: string; path: string }): KatafleetError {
  const about = reply.path === '' ? '' : ` (${reply.path})`;
  if (reply.reason === 'no_space' && reply.errno === tooManyNames) {
    return new KatafleetError('files.too_many', `the sandbox can't remember the names of so many files${about}: 64 MiB of them at most`, {
      hint: 'give the run fewer files, or shorter paths',
    });
  }
  if (reply.reason === 'no_space') {
    return new KatafleetError('files.no_space', `the files don't fit into the sandbox${about}: its disk is half of its memory`, {
      hint: 'give the run more memory',
    });
  }
  const kind = reply.reason === 'file' ? 'files.path' : reply.reason === 'protocol' ? 'internal' : 'sandbox.failed';
  return new KatafleetError(kind, `the supervisor gave up: ${reply.message}${about}${reply.errno ? `, errno ${reply.errno}` : ''}`);
}
