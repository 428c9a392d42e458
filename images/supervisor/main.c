#include "session.h"

#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#include "supervisor.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <unistd.h>

struct options options = {.sandbox = "/sandbox", .root = -1};
static uint64_t lifetime_ns;
static bool guarded;

uint64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * NS + (uint64_t)t.tv_nsec;
}

_Noreturn void finish(int code) {
  heartbeat_end();
  kill_all();
  _exit(code);
}

// The last words wait a second for a host that reads slowly, and no longer.
_Noreturn void fail(enum fail reason, int error, const char *message, const char *path) {
  uint8_t frame[MAX_PATH_BYTES + 512];
  size_t m = strnlen(message, 256), p = strnlen(path, MAX_PATH_BYTES);
  uint8_t *at = put(put(put(frame, reason, 1), (uint64_t)error, 4), m, 2);
  at = put((uint8_t *)memcpy(at, message, m) + m, p, 2);
  memcpy(at, path, p);
  heartbeat_end();
  kill_all();
  uint64_t until = now() + NS;
  for (;;) {
    out_flush();
    if (out_room(sizeof frame) && at) {
      out_frame(FAIL, frame, (size_t)(at - frame) + p);
      at = NULL;
      continue;
    }
    if (!out_pending() || now() >= until)
      break;
    struct pollfd f = {.fd = stream_out, .events = POLLOUT};
    poll(&f, 1, 50);
  }
  _exit(reason == F_PROTOCOL || reason == F_VERSION ? 64 : reason == F_LIFETIME ? 0 : 1);
}

static void hello(void) {
  uint8_t frame[64], *at = put(put(put(frame, 0x4b415441, 4), PROTOCOL, 2), PROTOCOL, 2);
  at = put(at,
           cgroup_abilities() | disk_abilities() | (options.pid1 ? A_PID1 : 0u) |
               (capability_held(CAP_SYS_ADMIN) ? A_NETNS : 0u) | A_BASELINE | A_TAIL | A_BACK |
               (guarded ? A_GUARD : 0u) | A_IPC,
           4);
  at = put(at, sizeof VERSION - 1, 2);
  memcpy(at, VERSION, sizeof VERSION - 1);
  out_frame(HELLO, frame, (size_t)(at - frame) + sizeof VERSION - 1);
}

static int usage(void) {
  fputs("usage: supervisor [--sandbox DIR] [--lifetime MS] [--tmpfs PATH=BYTES]... [--shm BYTES] [--dial "
        "ADDRESS:PORT[,...] --secret FILE [--network keep]]\n"
        "Speaks katafleet's supervisor protocol on stdin and stdout, or on a connection that it dials.\n",
        stderr);
  return 64;
}

// Whatever else was left open for us is none of the user's business.
static void close_inherited(void) {
  if (syscall(SYS_close_range, 3, ~0u, 0) == 0)
    return;
  for (int fd = 3; fd < 1024; fd++) // before Linux 5.9
    close(fd);
}

static int soonest(int a, int b) { return a < 0 ? b : b < 0 || a < b ? a : b; }

// Returns where the connection is lost and another one may be dialled.
static void serve(int signals) {
  while (!stream_lost()) {
    int lifetime = -1;
    uint64_t ends = session_ends(lifetime_ns), t = now();
    if (ends && t >= ends)
      fail(F_LIFETIME, 0, "its lifetime is over", "");
    if (ends)
      lifetime = (ends - t) / 1000000 > 60000 ? 60000 : (int)((ends - t) / 1000000) + 1;
    bool room = out_room(MAX_PAYLOAD + 16);
    struct pollfd f[5] = {
        {.fd = in_has_room() ? stream_in : -1, .events = POLLIN},
        {.fd = out_pending() ? stream_out : -1, .events = POLLOUT},
        {.fd = signals, .events = POLLIN},
        {.fd = room || step_cut(0) ? step_pipe(0) : -1, .events = POLLIN},
        {.fd = room || step_cut(1) ? step_pipe(1) : -1, .events = POLLIN},
    };
    int wait = soonest(step_timeout(), lifetime);
    // A step that is over but whose last output waits for the host: its room decides, not the clock.
    if (wait == 0 && step_running() && !room)
      wait = 1000;
    if (poll(f, 5, soonest(wait, heartbeat_timeout())) < 0 && errno != EINTR)
      fail(F_SUPERVISOR, errno, "poll", "");
    struct signalfd_siginfo info;
    while (read(signals, &info, sizeof info) == sizeof info)
      if (info.ssi_signo == SIGIO)
        pty_changed();
      else if (info.ssi_signo != SIGCHLD &&
               (!dial_wanted() || dial_again())) // a run that was dialled for ends in peace
        finish(session_opened() ? 128 + (int)info.ssi_signo : 0);
    if (f[0].revents && !in_fill())
      session_input_ended();
    bool readable[2] = {f[3].revents != 0, f[4].revents != 0};
    step_poll(readable);
    session_frames();
    out_flush();
    heartbeat();
  }
}

// What can go wrong here is told to the host: there is a stream already.
static void prepare(int signals) {
  cgroup_init(); // may take CAP_SYS_ADMIN, which is given up below
  bool bounded = disk_init();
  guarded = guard_init();
  ipc_init();
  pty_init();
  options.root = open(options.sandbox, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (options.root < 0 || signals < 0)
    fail(F_SUPERVISOR, errno, options.root < 0 ? "no sandbox folder" : "no signalfd", options.sandbox);
  if (dial_wanted()) { // CAP_SYS_ADMIN is needed once more, at OPEN
    dial_prepare();
  } else {
    etc_cover(!bounded); // a sandbox that the engine has bounded is on a network, if it is allowed to mount
    if (bounded)
      capability_drop(CAP_SYS_ADMIN);
  }
}

// /proc/1/cmdline is everybody's to read, and says where katafleet is: what was said there is kept elsewhere.
static void keep_arguments(int argc, char **argv) {
  for (int i = 1; i < argc; i++) {
    char *kept = strdup(argv[i]);
    if (!kept)
      _exit(1);
    explicit_bzero(argv[i], strlen(argv[i]));
    argv[i] = kept;
  }
}

int main(int argc, char **argv) {
  const char *secret = NULL;
  keep_arguments(argc, argv);
  for (int i = 1; i < argc; i++) {
    if (!strcmp(argv[i], "--version"))
      return puts(VERSION) < 0;
    if (i + 1 == argc)
      return usage();
    char *end = "";
    if (!strcmp(argv[i], "--sandbox"))
      options.sandbox = argv[++i];
    else if (!strcmp(argv[i], "--lifetime"))
      lifetime_ns = strtoull(argv[++i], &end, 10) * 1000000;
    else if (!strcmp(argv[i], "--secret"))
      secret = argv[++i];
    else if (!strcmp(argv[i], "--dial")) {
      if (!dial_to(argv[++i]))
        return usage();
    } else if (!strcmp(argv[i], "--network")) {
      if (strcmp(argv[++i], "keep"))
        return usage();
      options.keeps_network = true;
    } else if (!strcmp(argv[i], "--shm")) {
      if (!disk_shared(argv[++i]))
        return usage();
    } else if (strcmp(argv[i], "--tmpfs") || !disk_bound(argv[++i]))
      return usage();
    if (*end)
      return usage();
  }
  if (dial_wanted() != (secret != NULL) || (options.keeps_network && !dial_wanted()))
    return usage();
  close_inherited();
  options.pid1 = getpid() == 1;
  signal(SIGPIPE, SIG_IGN);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGCHLD);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGIO);
  sigprocmask(SIG_BLOCK, &set, NULL);
  int signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
  if (!dial_wanted())
    stream_init(STDIN_FILENO, STDOUT_FILENO);
  prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); // /proc/1/fd and /proc/1/mem are nobody's
  if (!options.pid1)
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
  umask(022);
  if (dial_wanted() && !dial_begin(secret, signals, lifetime_ns))
    return 1;
  for (bool prepared = false;; prepared = true) {
    if (dial_wanted())
      dial_home();
    if (!prepared)
      prepare(signals);
    hello();
    out_flush();
    serve(signals);
  }
}
