#include "supervisor.h"
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// In a container the mount of the hierarchy shows the container's own group; `files` are kept open, pread is a
// microsecond. -1 where the kernel or the engine doesn't show one.
static int oom = -1, cpu = -1, peak = -1;
static bool v2;

static int open_at(const char *base, const char *file) {
  char name[128];
  snprintf(name, sizeof name, "/sys/fs/cgroup/%s/%s", base, file);
  return open(name, O_RDONLY | O_CLOEXEC);
}

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

void cgroup_init(void) {
  oom = open_at(".", "memory.events");
  v2 = oom >= 0;
  if (v2) {
    cpu = open_at(".", "cpu.stat");
    peak = open_at(".", "memory.peak");
    return;
  }
  oom = open_at("memory", "memory.oom_control");
  if (number(oom, "oom_kill") < 0 && oom >= 0) { // counted since Linux 4.13
    close(oom);
    oom = -1;
  }
  cpu = open_at("cpuacct", "cpuacct.usage");
  if (cpu < 0)
    cpu = open_at("cpu,cpuacct", "cpuacct.usage");
  peak = open_at("memory", "memory.max_usage_in_bytes");
}

uint32_t cgroup_abilities(void) {
  return (oom >= 0 ? A_OOM : 0u) | (cpu >= 0 ? A_CPU : 0u) | (peak >= 0 ? A_PEAK : 0u);
}

int64_t cgroup_oom_kills(void) { return number(oom, "oom_kill"); }

int64_t cgroup_cpu_ns(void) {
  int64_t value = number(cpu, v2 ? "usage_usec" : NULL);
  return value < 0 || !v2 ? value : value * 1000;
}

uint64_t cgroup_peak(void) {
  int64_t value = number(peak, NULL);
  return value < 0 ? 0 : (uint64_t)value;
}
