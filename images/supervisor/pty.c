// Pseudo terminals: the whole machine has some thousand, and each program may open as many as its descriptors allow. So
// a sandbox has only so many at a time: its devpts gives no more where the supervisor may say so to it, else a step
// that holds more is ended.
#include "supervisor.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <unistd.h>

#define FOLDER "/dev/pts"
// How often it is looked while there are some, or where the kernel tells of no new ones.
#define LOOK_NS (NS / 10)
// Terminals that a look opens at most.
#define MOST_OPENED 8

static DIR *list; // NULL: nothing to watch
static bool told, due;
static uint64_t held, next_look;
static unsigned opens; // by the last look that the kernel did not ask for

// Terminals that have a name. One whose master is closed has none, and is the machine's until its last descriptor is.
static uint64_t named(void) {
  uint64_t count = 0;
  rewinddir(list);
  for (struct dirent *e; (e = readdir(list));)
    count += *e->d_name >= '0' && *e->d_name <= '9';
  return count;
}

// Below the lowest number that is free all terminals are held, with a name or without: by others as many as are not our
// own. 0 where none is to be had.
static uint64_t below_free(unsigned count) {
  unsigned opened = 0, number;
  uint64_t most = 0;
  int fds[MOST_OPENED];
  for (; opened < count; opened++) {
    fds[opened] = openat(dirfd(list), "ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (fds[opened] < 0)
      break;
    if (ioctl(fds[opened], TIOCGPTN, &number) == 0 && number > opened && number - opened > most)
      most = number - opened;
  }
  while (opened > 0)
    close(fds[--opened]);
  return most;
}

// What a devpts was mounted with, which a remount without it would forget; "" where this is none.
static void options_of_mount(char *to, size_t room) {
  char line[1024], *rest;
  FILE *f = fopen("/proc/self/mounts", "re");
  *to = 0;
  while (f && fgets(line, sizeof line, f)) {
    char *at = strstr(line, " " FOLDER " devpts ");
    if (!at)
      continue;
    *to = 0; // the last one lies on top
    at += strlen(" " FOLDER " devpts ");
    at[strcspn(at, " ")] = 0;
    for (char *word = strtok_r(at, ",", &rest); word; word = strtok_r(NULL, ",", &rest))
      if (!strncmp(word, "gid=", 4) || !strncmp(word, "uid=", 4) || !strncmp(word, "mode=", 5) ||
          !strncmp(word, "ptmxmode=", 9))
        snprintf(to + strlen(to), room - strlen(to), "%s,", word);
  }
  if (f)
    fclose(f);
}

static bool limited(void) {
  char data[256];
  options_of_mount(data, sizeof data - 16);
  if (!*data || !capability_held(CAP_SYS_ADMIN))
    return false;
  snprintf(data + strlen(data), 16, "max=%d", MOST_PTYS);
  return mount(NULL, FOLDER, NULL, MS_REMOUNT | MS_NOSUID | MS_NOEXEC, data) == 0;
}

void pty_init(void) {
  struct stat st;
  // A container's own devpts is everybody's to use, and nobody uses it yet. Any other may be the machine's.
  if (!options.pid1 || stat(FOLDER "/ptmx", &st) < 0 || (st.st_mode & 6) != 6)
    return;
  list = opendir(FOLDER);
  if (list && (named() > 0 || limited())) {
    closedir(list);
    list = NULL;
  }
}

// Has the kernel tell of the next one, once (SIGIO); an inotify instance would be one of few that root has. What this
// opens itself is not told: else it would look again, and a program that lists the terminals could see one that is not
// its own. A program that takes many while this is held up leaves the numbers that this has free below its own: so the
// next look in time opens one more than any before it.
static void look(void) {
  fcntl(dirfd(list), F_NOTIFY, 0);
  if (!due && opens < MOST_OPENED)
    opens++;
  uint64_t all = below_free(due ? 1 : opens);
  told = fcntl(dirfd(list), F_NOTIFY, DN_CREATE) == 0;
  uint64_t names = named();
  held = all > names ? all : names;
  due = false;
  next_look = now() + LOOK_NS;
}

// Before a step, when nobody runs: what the kernel told of the one before is over.
void pty_begin(void) {
  if (!list)
    return;
  sigset_t io;
  sigemptyset(&io);
  sigaddset(&io, SIGIO);
  static const struct timespec at_once;
  while (sigtimedwait(&io, NULL, &at_once) > 0)
    ;
  opens = 1;
  due = true;
  look();
}

void pty_changed(void) { due = true; }

int pty_timeout(void) {
  if (!list || (told && !due && held == 0))
    return -1;
  uint64_t t = now();
  return due || t >= next_look ? 0 : (int)((next_look - t) / 1000000) + 1;
}

bool pty_passed(void) {
  if (pty_timeout() == 0)
    look();
  return list && held > MOST_PTYS;
}
