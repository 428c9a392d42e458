#include "supervisor.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define CPU_LOOK_MS 50

extern char **environ;
static struct step step;
static pid_t pid;
static int status;
static bool over, running, crowded;
static enum how how;
static uint64_t started, deadline, written[2];
static bool cut[2];
static int pipes[2] = {-1, -1};
static int64_t oom_before, cpu_before;
static struct rusage usage_before;
static char text[MAX_PAYLOAD + 4096];
static char *vectors[MAX_PAYLOAD / 2 + 1024];

bool step_running(void) { return running; }
int step_pipe(int stream) { return pipes[stream]; }
bool step_cut(int stream) { return cut[stream]; }

static uint64_t ns(struct timeval t) { return (uint64_t)t.tv_sec * NS + (uint64_t)t.tv_usec * 1000; }
static uint64_t cpu_of(const struct rusage *u) { return ns(u->ru_utime) + ns(u->ru_stime); }

// The next that has changed; as waitpid. A program that asks its parent to trace it (PTRACE_TRACEME) stops at its
// signals and waits for us: it gets its signal and is traced no more. One that stops has not ended.
static pid_t reap_one(void) {
  int s;
  pid_t p = waitpid(-1, &s, WNOHANG);
  if (p > 0 && WIFSTOPPED(s)) {
    int stop = WSTOPSIG(s);
    if (ptrace(PTRACE_DETACH, p, NULL, (void *)(intptr_t)(stop == SIGTRAP ? 0 : stop)) < 0)
      kill(p, SIGKILL);
  } else if (p == pid && !over) {
    status = s;
    over = true;
  }
  return p;
}

// Outside a container: the processes below us. They come to us when their parent ends (PR_SET_CHILD_SUBREAPER).
static void kill_children(void) {
  char name[64], list[4096];
  snprintf(name, sizeof name, "/proc/self/task/%d/children", getpid());
  FILE *f = fopen(name, "re");
  size_t n = f ? fread(list, 1, sizeof list - 1, f) : 0;
  if (f)
    fclose(f);
  list[n] = 0;
  for (char *at = list, *end; (n = strtoul(at, &end, 10)) > 1 && end != at; at = end)
    kill((pid_t)n, SIGKILL);
}

void kill_all(void) {
#ifdef KATAFLEET_FUZZ
  return; // nothing was started, and the fuzzer's own helpers are not ours to kill
#endif
  for (;;) {
    if (options.pid1)
      kill(-1, SIGKILL); // everything in this PID namespace but us, at one instant
    else
      kill_children();
    pid_t p;
    while ((p = reap_one()) > 0)
      ;
    if (p < 0 && errno == ECHILD)
      return;
    heartbeat();
    poll(NULL, 0, 1);
  }
}

// Whether there is a variable of this name among them.
static bool has(size_t from, size_t to, const char *variable) {
  size_t name = strcspn(variable, "=") + 1;
  for (size_t i = from; i < to; i++)
    if (vectors[i] && !strncmp(vectors[i], variable, name))
      return true;
  return false;
}

// The image's environment without our own variables, under what EXEC gave.
static size_t environment(size_t from, size_t given) {
  size_t to = given;
  for (char **e = environ; *e && to < sizeof vectors / sizeof *vectors - 8; e++) {
    size_t name = strcspn(*e, "=") + 1;
    bool taken = !strncmp(*e, "KATAFLEET_", 10) || !strncmp(*e, "HOSTNAME=", 9) || !strcmp(*e, "HOME=/root") ||
                 !strcmp(*e, "HOME=/");
    for (size_t i = from; i < given && !taken; i++)
      taken = !strncmp(vectors[i], *e, name);
    if (taken)
      continue;
    vectors[to++] = *e;
  }
  static char user[2][80];
  snprintf(user[0], sizeof user[0], "USER=%s", etc_user_name());
  snprintf(user[1], sizeof user[1], "LOGNAME=%s", etc_user_name());
  // What a program may count on and most images don't say. The locale is one that every C library has or passes over.
  char *const defaults[] = {"HOME=/tmp", "TMPDIR=/tmp", "LANG=C.UTF-8", user[0], user[1]};
  for (size_t i = 0; i < sizeof defaults / sizeof *defaults; i++)
    if (!has(from, to, defaults[i]))
      vectors[to++] = defaults[i];
  vectors[to] = NULL;
  return to;
}

static size_t copy_strings(struct cursor *c, size_t at, char **to) {
  size_t n = (size_t)take(c, 2);
  for (size_t i = 0; i < n && !c->bad; i++) {
    uint16_t length;
    const char *s = take_str(c, &length);
    vectors[at++] = memcpy(*to, s, length);
    (*to)[length] = 0;
    *to += length + 1;
  }
  return at;
}

static void parse(const uint8_t *payload, uint32_t length) {
  struct cursor c = {payload, payload + length, false};
  step.number = (uint32_t)take(&c, 4);
  step.flags = (uint8_t)take(&c, 1);
  step.wall_ms = (uint32_t)take(&c, 4);
  step.cpu_ms = (uint32_t)take(&c, 4);
  step.stdout_cap = take(&c, 8);
  step.stderr_cap = take(&c, 8);
  step.file_size = take(&c, 8);
  step.processes = (uint32_t)take(&c, 4);
  step.files = (uint32_t)take(&c, 4);
  step.stack = take(&c, 8);
  uint16_t cwd;
  const char *folder = take_str(&c, &cwd);
  char *to = text;
  step.cwd = memcpy(to, folder, cwd);
  to[cwd] = 0;
  to += cwd + 1;
  size_t argc = copy_strings(&c, 0, &to);
  vectors[argc] = NULL;
  size_t given = copy_strings(&c, argc + 1, &to);
  uint32_t tails[2] = {0, 0};
  for (int i = 0; i < 2 && step.flags & X_TAILS; i++)
    tails[i] = (uint32_t)take(&c, 4);
  if (tails[0] > MOST_TAIL || tails[1] > MOST_TAIL)
    fail(F_PROTOCOL, 0, "a tail that is too long", "");
  tail_begin(tails[0], tails[1]);
  if (c.bad || c.at != c.end || argc == 0 || step.wall_ms == 0 ||
      step.flags > (X_NETWORK | X_COLLECT | X_NO_IPC | X_TAILS) || (cwd && *folder != '/'))
    fail(F_PROTOCOL, 0, "a bad EXEC", "");
  for (size_t i = argc + 1; i < given; i++)
    if (!strchr(vectors[i] + 1, '=') || *vectors[i] == '=' || !*vectors[i])
      fail(F_PROTOCOL, 0, "a variable without a name", "");
  environment(argc + 1, given);
  step.argv = vectors;
  step.env = vectors + argc + 1;
}

static void output(int stream, const char *bytes, size_t length) {
  uint64_t cap = stream ? step.stderr_cap : step.stdout_cap;
  size_t keep = written[stream] >= cap ? 0 : cap - written[stream] < length ? (size_t)(cap - written[stream]) : length;
  written[stream] += length;
  if (keep > 0)
    out_wait_frame(stream ? STDERR : STDOUT, bytes, keep);
  tail_add(stream, bytes + keep, length - keep);
  if (keep < length && !cut[stream]) {
    uint8_t which = (uint8_t)(stream + 1);
    cut[stream] = true;
    out_wait_frame(CUT, &which, 1);
  }
}

static void result(void) {
  struct rusage u;
  if (crowded) {
    char line[80];
    int n = snprintf(line, sizeof line, "katafleet: more than %d pseudo terminals at a time\n", MOST_PTYS);
    output(1, line, (size_t)n);
    how = SIGNALLED;
    status = SIGKILL;
  }
  getrusage(RUSAGE_CHILDREN, &u);
  int64_t kills = cgroup_oom_kills();
  bool signalled = WIFSIGNALED(status);
  // The kernel's own way to end a process that used up its CPU time.
  if (how == EXITED && step.cpu_ms && signalled && (WTERMSIG(status) == SIGXCPU || WTERMSIG(status) == SIGKILL) &&
      cpu_of(&u) - cpu_of(&usage_before) >= step.cpu_ms * 1000000ull)
    how = CPU;
  if (how == EXITED && signalled)
    how = SIGNALLED;
  // What was written since the last look counts as well: the outcome doesn't hang on when that was.
  if ((how == EXITED || how == SIGNALLED) && disk_passed(true))
    how = DISK;
  int code = signalled ? WTERMSIG(status) : WEXITSTATUS(status);
  uint8_t frame[80], *at = put(put(frame, step.number, 4), how, 1);
  at = put(put(at, (uint32_t)code, 4), kills > oom_before ? (uint64_t)(kills - oom_before) : 0, 4);
  at = put(at, now() - started, 8);
  at = put(at, ns(u.ru_utime) - ns(usage_before.ru_utime), 8);
  at = put(at, ns(u.ru_stime) - ns(usage_before.ru_stime), 8);
  at = put(put(put(at, cgroup_peak(), 8), written[0], 8), written[1], 8);
  tail_send();
  out_wait_frame(RESULT, frame, (size_t)(at - frame));
  running = false;
  age_step_over();
  if (step.flags & 2)
    collect(COLLECT);
}

void step_exec(const uint8_t *payload, uint32_t length) {
  parse(payload, length);
  receive_settle();
  tree_unlock(options.root); // what an earlier step did to it, a command could not even be started in
  oom_before = cgroup_oom_kills();
  cpu_before = cgroup_cpu_ns();
  getrusage(RUSAGE_CHILDREN, &usage_before);
  how = EXITED;
  over = crowded = cut[0] = cut[1] = false;
  written[0] = written[1] = 0;
  status = 0;
  running = true;
  uint8_t number[4];
  put(number, step.number, 4);
  disk_begin();
  pty_begin();
  started = now();
  deadline = started + step.wall_ms * 1000000ull;
  const char *failed;
  pid = spawn(&step, receive_stdin(), pipes, &failed);
  if (pid < 0) {
    int error = errno;
    pipes[0] = pipes[1] = -1;
    kill_all();
    bool command = !strcmp(failed, "exec"), folder = !strcmp(failed, "cwd");
    if (!command && !folder)
      fail(F_SUPERVISOR, error, failed, "");
    out_wait_frame(STARTED, number, 4);
    char line[512];
    int n = snprintf(line, sizeof line, "katafleet: %.300s: %s\n", folder ? step.cwd : step.argv[0], strerror(error));
    status = (command && error != ENOENT ? 126 : 127) << 8;
    output(1, line, (size_t)n);
    result();
    return;
  }
  out_wait_frame(STARTED, number, 4);
}

void step_kill(void) {
  if (running && !over && how == EXITED) {
    how = KILLED;
    kill_all();
  }
}

int step_timeout(void) {
  if (!running)
    return -1;
  uint64_t t = now();
  if (over || t >= deadline)
    return 0;
  uint64_t ms = (deadline - t + 999999) / 1000000;
  if (step.cpu_ms && ms > CPU_LOOK_MS)
    ms = CPU_LOOK_MS;
  int look = disk_timeout();
  if (look >= 0 && ms > (uint64_t)look)
    ms = (uint64_t)look;
  look = pty_timeout();
  if (look >= 0 && ms > (uint64_t)look)
    ms = (uint64_t)look;
  return ms > 60000 ? 60000 : (int)ms;
}

static bool cpu_used_up(void) {
  int64_t used = cgroup_cpu_ns();
  return step.cpu_ms && used >= 0 && cpu_before >= 0 && used - cpu_before >= step.cpu_ms * 1000000ll;
}

// One read of a stream; false when there is no more now. Leaves it while the host doesn't read, unless it is cut: then
// it is drained.
static bool drain(int stream) {
  static char bytes[MAX_PAYLOAD];
  if (pipes[stream] < 0 || (!cut[stream] && !out_room(sizeof bytes + 16)))
    return false;
  ssize_t n = read(pipes[stream], bytes, sizeof bytes);
  if (n < 0)
    return errno == EINTR;
  if (n == 0) {
    close(pipes[stream]);
    pipes[stream] = -1;
    return false;
  }
  output(stream, bytes, (size_t)n);
  return true;
}

void step_poll(bool readable[2]) {
  if (!running)
    return;
  for (int i = 0; i < 2; i++)
    if (readable[i])
      drain(i);
  while (reap_one() > 0)
    ;
  if (!over && now() >= deadline)
    how = WALL;
  else if (!over && cpu_used_up())
    how = CPU;
  else if (!over && disk_passed(false))
    how = DISK;
  else if (!over && pty_passed())
    crowded = true;
  if (!over && how == EXITED && !crowded)
    return;
  kill_all(); // what the command left behind, or all of it
  ipc_clear();
  for (int i = 0; i < 2; i++) {
    while (drain(i)) // nobody is left to write more: this ends
      ;
    if (pipes[i] >= 0 && !cut[i] && !out_room(MAX_PAYLOAD + 16))
      return; // the host has to read first; the main loop comes back
  }
  for (int i = 0; i < 2; i++)
    if (pipes[i] >= 0) {
      close(pipes[i]);
      pipes[i] = -1;
    }
  result();
}
