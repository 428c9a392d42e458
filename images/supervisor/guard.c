// What keeps a program from making the kernel prefer the supervisor, should memory run out. The program is marked as
// the first to go (/proc/self/oom_score_adj); unless the supervisor holds CAP_SYS_RESOURCE, which makes that mark the
// least that the program may have, it could take it back. So it writes nothing below /proc: by Landlock, or by a /proc
// that is mounted read-only.
#include "supervisor.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

// linux/landlock.h, which build machines of before 2021 don't have. The numbers are the same on every architecture.
#define LANDLOCK_CREATE_RULESET 444
#define LANDLOCK_ADD_RULE 445
#define LANDLOCK_RESTRICT_SELF 446
#define LANDLOCK_VERSION 1u
#define LANDLOCK_PATH_BENEATH 1
#define WRITE_FILE (1ull << 1)
#define REFER (1ull << 13)
// Before this version (Linux 5.19) whoever is restricted can't rename a file into another folder.
#define LEAST_VERSION 2

struct path_beneath {
  uint64_t allowed;
  int32_t parent;
} __attribute__((packed));

static int proc = -1, ruleset = -1;

// A name in / with what lies below it may be written to. Links lead to one of the others.
static bool allow(int root, const char *name) {
  struct stat st;
  struct path_beneath rule = {.parent = openat(root, name, O_PATH | O_NOFOLLOW | O_CLOEXEC)};
  bool done = rule.parent >= 0 && fstat(rule.parent, &st) == 0;
  if (done && !S_ISLNK(st.st_mode)) {
    rule.allowed = S_ISDIR(st.st_mode) ? WRITE_FILE | REFER : WRITE_FILE;
    done = syscall(LANDLOCK_ADD_RULE, ruleset, LANDLOCK_PATH_BENEATH, &rule, 0) == 0;
  }
  if (rule.parent >= 0)
    close(rule.parent);
  return done;
}

static bool allow_all_but_proc(void) {
  DIR *root = opendir("/");
  bool done = root != NULL;
  for (struct dirent *e; done && (e = readdir(root));)
    if (strcmp(e->d_name, ".") && strcmp(e->d_name, "..") && strcmp(e->d_name, "proc"))
      done = allow(dirfd(root), e->d_name);
  if (root)
    closedir(root);
  return done;
}

static bool by_landlock(void) {
  if (syscall(LANDLOCK_CREATE_RULESET, NULL, 0, LANDLOCK_VERSION) < LEAST_VERSION)
    return false;
  uint64_t handled = WRITE_FILE | REFER;
  ruleset = (int)syscall(LANDLOCK_CREATE_RULESET, &handled, sizeof handled, 0);
  if (ruleset >= 0 && allow_all_but_proc())
    return true;
  if (ruleset >= 0)
    close(ruleset);
  ruleset = -1;
  return false;
}

// A second mount over the first, which the supervisor goes on using; with all that lies on the first, its masks too.
static bool by_mount(void) {
  if (!options.pid1 || !capability_held(CAP_SYS_ADMIN) || mount("/proc", "/proc", NULL, MS_BIND | MS_REC, NULL) < 0)
    return false;
  const unsigned long flags = MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC;
  if (mount(NULL, "/proc", NULL, MS_REMOUNT | MS_BIND | flags, NULL) == 0)
    return true;
  umount2("/proc", MNT_DETACH);
  return false;
}

// One that has lost the capability tries to take its mark back. In a user namespace the capability is held and worth
// nothing for this.
static bool by_capability(void) {
  int status = 1;
  pid_t pid = capability_held(CAP_SYS_RESOURCE) ? fork() : -1;
  if (pid == 0) {
    bool marked = guard_first_to_go();
    capability_drop(CAP_SYS_RESOURCE);
    int fd = proc < 0 ? -1 : openat(proc, "self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    _exit(marked && fd >= 0 && write(fd, "0", 1) < 0 ? 0 : 1);
  }
  while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
    ;
  return pid > 0 && status == 0;
}

bool guard_init(void) {
  proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
  bool guarded = by_landlock() || by_mount();
  if (!guarded && by_capability())
    return true;
  if (options.pid1 && capability_held(CAP_SYS_RESOURCE))
    capability_drop(CAP_SYS_RESOURCE);
  return guarded;
}

bool guard_first_to_go(void) {
  int fd = proc < 0 ? -1 : openat(proc, "self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (fd < 0)
    return true; // no /proc at all: no container of an engine's
  bool done = write(fd, "1000", 4) == 4;
  close(fd);
  return done;
}

bool guard_enter(void) { return ruleset < 0 || syscall(LANDLOCK_RESTRICT_SELF, ruleset, 0) == 0; }
