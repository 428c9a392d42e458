#include "supervisor.h"
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

// A program that spins with all its processes leaves the supervisor the time to end them.
#define NICE 10

static bool lower(int resource, uint64_t soft, uint64_t hard) {
  struct rlimit now_is;
  if (getrlimit(resource, &now_is) < 0)
    return false;
  if (hard > now_is.rlim_max)
    hard = now_is.rlim_max;
  struct rlimit wanted = {soft < hard ? soft : hard, hard};
  return setrlimit(resource, &wanted) == 0;
}

// Whether any network interface but lo exists.
static bool has_network(void) {
  char text[8192];
  int fd = open("/proc/net/dev", O_RDONLY | O_CLOEXEC);
  ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
  if (fd >= 0)
    close(fd);
  if (n <= 0)
    return fd >= 0; // a /proc that can't be read proves nothing; none at all: no container of an engine's
  text[n] = 0;
  for (char *line = text; (line = strchr(line, '\n'));) {
    line++;
    char *colon = strpbrk(line, ":\n");
    if (!colon || *colon != ':')
      continue;
    while (*line == ' ')
      line++;
    if (strncmp(line, "lo:", 3) && strncmp(line, "tunl0:", 6) && strncmp(line, "sit0:", 5) &&
        strncmp(line, "ip6tnl0:", 8))
      return true;
  }
  return false;
}

static bool become_user(void) {
  for (int capability = 0; prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; capability++)
    if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0 && errno != EPERM)
      return false;
  prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); // EINVAL before Linux 4.3, which had none
  if (geteuid() == 0 && (setgroups(0, NULL) < 0 || setresgid(options.gid, options.gid, options.gid) < 0 ||
                         setresuid(options.uid, options.uid, options.uid) < 0))
    return false;
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct none[2] = {{0, 0, 0}, {0, 0, 0}};
  return getuid() == options.uid && syscall(SYS_capset, &header, none) == 0 &&
         prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0;
}

static const char *variable(char *const *env, const char *name, const char *otherwise) {
  size_t length = strlen(name);
  for (; *env; env++)
    if (!strncmp(*env, name, length) && (*env)[length] == '=')
      return *env + length + 1;
  return otherwise;
}

// As execvp, but with the step's own PATH. Returns errno.
static int run(const struct step *s) {
  const char *name = s->argv[0];
  int error = ENOENT;
  char tried[MAX_PATH_BYTES + 2];
  const char *path =
      strchr(name, '/') ? "" : variable(s->env, "PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
  if (!*name)
    return ENOENT;
  for (;;) {
    size_t length = strcspn(path, ":");
    int n = snprintf(tried, sizeof tried, "%.*s%s%s", (int)length, path, length ? "/" : "", name);
    if (n > 0 && (size_t)n < sizeof tried) {
      execve(tried, s->argv, s->env);
      if (errno == ENOEXEC) { // a script without a first line that says whose
        char *argv[1024] = {"/bin/sh", tried};
        for (int i = 1; s->argv[i] && i < 1021; i++)
          argv[i + 1] = s->argv[i];
        execve(argv[0], argv, s->env);
        errno = ENOEXEC;
      }
      if (errno != ENOENT && errno != ENOTDIR)
        error = errno;
    }
    if (path[length] == 0)
      return error;
    path += length + 1;
  }
}

struct report {
  int error;
  char what[24];
};

struct birth {
  const struct step *step;
  int input, output[2], tell;
};

static _Noreturn void child(const void *argument) {
  const struct birth *b = argument;
  const struct step *s = b->step;
  const int tell = b->tell;
  // Above 2, so that dup2 to 0, 1, 2 can't lose one of them.
  const int fds[3] = {fcntl(b->input, F_DUPFD_CLOEXEC, 3), b->output[0], b->output[1]};
  struct report r = {0, ""};
#define MUST(ok, name)                                                                                                 \
  if (!(ok)) {                                                                                                         \
    r.error = errno;                                                                                                   \
    strcpy(r.what, name);                                                                                              \
    (void)!write(tell, &r, sizeof r);                                                                                  \
    _exit(127);                                                                                                        \
  }
  setsid();
  for (int i = 0; i < 3; i++)
    MUST(dup2(fds[i], i) == i, "dup2");
  MUST(guard_first_to_go(), "oom_score_adj");
  setpriority(PRIO_PROCESS, 0, NICE); // what is lower already stays
  // Who may empty the namespace does so: a machine's own may hold no interface but lo, and what listens on it.
  if (!(s->flags & X_NETWORK) && options.pid1 && !network_left() && (capability_held(CAP_SYS_ADMIN) || has_network()))
    MUST(unshare(CLONE_NEWNET) == 0, "network");
  // 1, not 0: only then the kernel starts no handler of cores either (core(5), a core_pattern that begins with |).
  MUST(lower(RLIMIT_CORE, 1, 1) && lower(RLIMIT_MSGQUEUE, 0, 0), "rlimit");
  uint64_t file_size = disk_largest(s->file_size);
  MUST(lower(RLIMIT_FSIZE, file_size, file_size), "rlimit");
  MUST(lower(RLIMIT_NOFILE, s->files, s->files) && lower(RLIMIT_STACK, s->stack, s->stack), "rlimit");
  MUST(!s->processes || lower(RLIMIT_NPROC, s->processes, s->processes), "rlimit");
  uint64_t seconds = (s->cpu_ms + 999ull) / 1000;
  MUST(!s->cpu_ms || lower(RLIMIT_CPU, seconds, seconds + 1), "rlimit");
  MUST(become_user(), "credentials");
  MUST((*s->cwd ? chdir(s->cwd) : fchdir(options.root)) == 0, "cwd");
  umask(022);
  for (int signal_number = 1; signal_number < 65; signal_number++)
    signal(signal_number, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  MUST(guard_enter(), "landlock");
  MUST(filter_calls(!(s->flags & X_NO_IPC)), "seccomp");
  errno = run(s);
  MUST(false, "exec");
  _exit(127);
}

// A pipe is its maker's alone (0600). Of the user, it can be opened by name as well: /dev/stdout is /proc/self/fd/1.
static bool user_pipe(int ends[2]) {
  return pipe2(ends, O_CLOEXEC) == 0 && fchown(ends[1], options.uid, options.gid) == 0;
}

static int empty_input(void) {
  int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
  int ends[2];
  if (fd < 0 && user_pipe(ends)) {
    close(ends[1]);
    fd = ends[0];
  }
  return fd;
}

pid_t spawn(const struct step *s, int input, int output[2], const char **failed) {
  static struct report r;
  int pipes[3][2] = {{-1, -1}, {-1, -1}, {-1, -1}};
  *failed = "pipe";
  pid_t pid = -1;
  if (input < 0)
    input = empty_input();
  if (input >= 0 && user_pipe(pipes[0]) && user_pipe(pipes[1]) && !pipe2(pipes[2], O_CLOEXEC)) {
    *failed = "fork";
    const struct birth b = {s, input, {pipes[0][1], pipes[1][1]}, pipes[2][1]};
    pid = s->flags & X_NETWORK ? network_fork(child, &b) : fork();
    if (pid == 0)
      child(&b);
  }
  int error = errno;
  if (input >= 0)
    close(input);
  for (int i = 0; i < 3; i++)
    if (pipes[i][1] >= 0)
      close(pipes[i][1]);
  r.error = 0;
  if (pid > 0 && read(pipes[2][0], &r, sizeof r) == sizeof r) {
    error = r.error;
    *failed = r.what;
    pid = -1;
  }
  if (pipes[2][0] >= 0)
    close(pipes[2][0]);
  for (int i = 0; i < 2; i++) {
    output[i] = pipes[i][0];
    if (pid < 0 && output[i] >= 0)
      close(output[i]);
    else if (pid > 0)
      fcntl(output[i], F_SETFL, O_NONBLOCK);
  }
  errno = error;
  return pid;
}
