// This container's own counters, from the files of its control groups. Where the engine doesn't show them (Docker 1.6
// shows no /sys/fs/cgroup) they are reached through a mount of our own, if we may make one: read-only, gone again
// before the host's first word, so that nothing of the user's ever sees it. What stays are a few files, open for
// reading and closed on exec; pread of one is a microsecond.
#include "supervisor.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <unistd.h>

// Since Linux 4.13; a test that plays an older kernel has another name.
#ifndef OOM_KILLS
#define OOM_KILLS "oom_kill"
#endif

// -1 where nobody tells. `events` counts in place of `oom` before Linux 4.13.
static int oom = -1, events = -1, cpu = -1, peak = -1;
static bool cpu_in_us;
static uint64_t counted;

// A hierarchy of control groups, and where we are in it. Version 2 has one, named by no controller.
struct hierarchy {
  char controllers[128], path[1024];
};

// The number after `key` in a file of "key number" lines, or the file's first number where key is NULL; -1 if none.
static int64_t number(int fd, const char *key) {
  char text[4096];
  ssize_t n = fd < 0 ? -1 : pread(fd, text, sizeof text - 1, 0);
  if (n <= 0)
    return -1;
  text[n] = 0;
  if (!key)
    return strtoll(text, NULL, 10);
  size_t length = strlen(key);
  for (char *line = text; line && *line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
    if (!strncmp(line, key, length) && line[length] == ' ')
      return strtoll(line + length, NULL, 10);
  return -1;
}

// A line of /proc/self/cgroup is "number:controllers:path"; "0::path" is version 2's, and the one that is meant where
// `controller` is empty. A controller that stands there is in use: mounting its hierarchy makes none.
static bool find(const char *controller, struct hierarchy *h) {
  FILE *file = fopen("/proc/self/cgroup", "re");
  char line[sizeof h->controllers + sizeof h->path + 16], list[sizeof h->controllers];
  bool found = false;
  while (file && !found && fgets(line, sizeof line, file)) {
    char *from = strchr(line, ':'), *to = from ? strchr(from + 1, ':') : NULL, *end = to ? strchr(to, '\n') : NULL;
    if (!end || to - from > (ptrdiff_t)sizeof list || end - to > (ptrdiff_t)sizeof h->path)
      continue;
    *to = *end = 0;
    strcpy(h->controllers, from + 1);
    strcpy(h->path, to + 1);
    strcpy(list, h->controllers);
    found = !*controller && !*list;
    char *rest = list;
    for (char *word; *controller && !found && (word = strsep(&rest, ","));)
      found = !strcmp(word, controller);
  }
  if (file)
    fclose(file);
  return found && !strstr(h->path, "/.."); // a group outside the container's namespace can't be reached by its path
}

// The group at the top of a whole hierarchy is the machine's, and no container's.
static bool is_root(int folder, const struct hierarchy *h) {
  return *h->controllers ? faccessat(folder, "release_agent", F_OK, 0) == 0
                         : faccessat(folder, "cgroup.events", F_OK, 0) < 0;
}

// Our group where its hierarchy is mounted. Its path is that below the topmost group that we may see, which a mount of
// our own shows; most engines put our group itself in that place (`alone`), and its path leads nowhere then.
static int group_in(const char *at, const struct hierarchy *h, bool alone) {
  int top = open(at, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (top >= 0 && h->path[0] && h->path[1]) {
    int own = openat(top, h->path + 1, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (own >= 0 || !alone) {
      close(top);
      top = own;
    }
  }
  if (top >= 0 && is_root(top, h)) {
    close(top);
    top = -1;
  }
  return top;
}

static int shown(const char *controller, const struct hierarchy *h) {
  char name[160];
  if (!*h->controllers)
    return group_in("/sys/fs/cgroup", h, true);
  snprintf(name, sizeof name, "/sys/fs/cgroup/%s", h->controllers);
  int group = group_in(name, h, true);
  snprintf(name, sizeof name, "/sys/fs/cgroup/%s", controller);
  return group < 0 ? group_in(name, h, true) : group;
}

// Our group, through a mount that exists in this function only. The sandbox folder is one that there always is, and
// nothing is in it yet.
static int mounted(const struct hierarchy *h, unsigned long flags) {
  const char *type = *h->controllers ? "cgroup" : "cgroup2";
  flags |= MS_NOSUID | MS_NODEV | MS_NOEXEC;
  if (!options.pid1 || mount("katafleet", options.sandbox, type, flags, *h->controllers ? h->controllers : NULL) < 0)
    return -1;
  int group = group_in(options.sandbox, h, false);
  // Lazily: `group` lies in it. The mount is off every path from here on, and gone when what was opened is closed.
  if (umount2(options.sandbox, MNT_DETACH) < 0)
    fail(F_SUPERVISOR, errno, "the control groups can't be unmounted", options.sandbox);
  return group;
}

static int file_of(int group, const char *name) { return group < 0 ? -1 : openat(group, name, O_RDONLY | O_CLOEXEC); }

static void close_one(int *fd) {
  if (*fd >= 0)
    close(*fd);
  *fd = -1;
}

// Before Linux 4.13 nothing counts the killed, but the kernel tells whoever asked of each time that memory ran out. To
// ask is to write, so the mount is writable for once. It is told of the groups above as well: memory ran out for all.
static void ask_for_events(const struct hierarchy *h) {
  int group = mounted(h, 0), control = group < 0 ? -1 : openat(group, "cgroup.event_control", O_WRONLY | O_CLOEXEC);
  int counter = control < 0 ? -1 : eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  char line[32];
  int n = snprintf(line, sizeof line, "%d %d", counter, oom);
  if (counter >= 0 && write(control, line, (size_t)n) == n)
    events = counter;
  else
    close_one(&counter);
  close_one(&control);
  close_one(&group);
}

static void memory_init(void) {
  struct hierarchy h;
  bool v1 = find("memory", &h);
  if (!v1 && !find("", &h))
    return;
  const char *kills = v1 ? "memory.oom_control" : "memory.events";
  int group = shown("memory", &h);
  oom = file_of(group, kills);
  if (oom < 0) {
    close_one(&group);
    group = mounted(&h, MS_RDONLY);
    oom = file_of(group, kills);
  }
  peak = file_of(group, v1 ? "memory.max_usage_in_bytes" : "memory.peak");
  close_one(&group);
  if (oom >= 0 && number(oom, OOM_KILLS) < 0) {
    ask_for_events(&h);
    close_one(&oom);
  }
}

static void cpu_init(void) {
  struct hierarchy h;
  cpu_in_us = !find("cpuacct", &h);
  if (cpu_in_us && !find("", &h))
    return;
  const char *clock = cpu_in_us ? "cpu.stat" : "cpuacct.usage";
  int group = shown("cpuacct", &h);
  cpu = file_of(group, clock);
  if (cpu < 0) {
    close_one(&group);
    group = mounted(&h, MS_RDONLY);
    cpu = file_of(group, clock);
  }
  close_one(&group);
}

void cgroup_init(void) {
  memory_init();
  cpu_init();
}

uint32_t cgroup_abilities(void) {
  return (oom >= 0 || events >= 0 ? A_OOM : 0u) | (cpu >= 0 ? A_CPU : 0u) | (peak >= 0 ? A_PEAK : 0u);
}

int64_t cgroup_oom_kills(void) {
  uint64_t more;
  if (events < 0)
    return number(oom, OOM_KILLS);
  if (read(events, &more, sizeof more) == sizeof more)
    counted += more;
  return (int64_t)counted;
}

int64_t cgroup_cpu_ns(void) {
  if (cpu < 0)
    return options.pid1 ? processes_cpu_ns() : -1;
  int64_t value = number(cpu, cpu_in_us ? "usage_usec" : NULL);
  return value < 0 || !cpu_in_us ? value : value * 1000;
}

uint64_t cgroup_peak(void) {
  int64_t value = number(peak, NULL);
  return value < 0 ? 0 : (uint64_t)value;
}
