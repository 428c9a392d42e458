// The folders that a step may write to, each bounded: by a tmpfs of the supervisor's own where it may mount one, else
// by looking again and again at what lies there.
#include "supervisor.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <unistd.h>

// An inode of a tmpfs costs the kernel about 1 KiB of the sandbox's memory; src/drivers/engine/options.ts has the same.
#define BYTES_PER_INODE 8192
#define LOOK_NS (NS / 5)
// A look may take this part of the time, whatever it costs; and that one where the disk fills quickly.
#define LOOK_SHARE 10
#define HURRIED_SHARE 2
// How often the file system itself is asked how full it is, which costs next to nothing.
#define CHECK_NS (NS / 20)
// Each level of a walk keeps one descriptor open. Deeper than that, only a program that hides something goes.
#define MOST_DEPTH 128

struct space {
  uint64_t bytes, entries;
};
static struct folder {
  const char *path;
  uint64_t most, used, entries;
  int fd; // -1: it is a tmpfs and needs no watching
  dev_t device;
  struct space at_begin, at_look; // of its file system, which others may share
} folders[2];
static size_t count;
static bool watching;
static uint64_t shared;
static bool shared_told;
static uint64_t next_look, hurried_look, next_check;

bool disk_bound(char *argument) {
  char *equals = strrchr(argument, '='), *end = "";
  uint64_t most = equals ? strtoull(equals + 1, &end, 10) : 0;
  if (count == sizeof folders / sizeof *folders || *argument != '/' || *end || most < 4096 || most > 1ull << 46)
    return false;
  *equals = 0;
  if (count == 1 && !strcmp(folders[0].path, argument))
    return false;
  folders[count++] = (struct folder){.path = argument, .most = most, .fd = -1};
  return true;
}

static bool mounted(const struct folder *f, bool sandbox) {
  char data[128];
  snprintf(data, sizeof data, "size=%llu,nr_inodes=%llu,mode=%s", (unsigned long long)f->most,
           (unsigned long long)(f->most / BYTES_PER_INODE + 1), sandbox ? "0755" : "1777");
  return mount("katafleet", f->path, "tmpfs", MS_NOSUID | MS_NODEV, data) == 0;
}

bool disk_shared(const char *argument) {
  char *end;
  shared = strtoull(argument, &end, 10);
  shared_told = true;
  return *argument >= '0' && *argument <= '9' && !*end && shared <= 1ull << 46;
}

// Over what the engine has put there. Where nothing may be mounted that stays; the sandbox's memory pays for it.
static void mount_shared(void) {
  char data[128];
  uint64_t size = shared < 4096 ? 4096 : shared;
  snprintf(data, sizeof data, "size=%llu,nr_inodes=%llu,mode=%s", (unsigned long long)size,
           (unsigned long long)(size / 4096 + 1), shared ? "1777" : "0555");
  mount("shm", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC | (shared ? 0 : MS_RDONLY), data);
}

// As empty as a tmpfs would be: a volume begins with what the image has in its place.
static void empty(int dir) {
  int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR *list = fd < 0 ? NULL : fdopendir(fd);
  for (struct dirent *e; list && (e = readdir(list));)
    if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
      tree_remove(dirfd(list), e->d_name, 0);
  if (list)
    closedir(list);
}

bool disk_init(void) {
  if (shared_told && options.pid1) // outside a container it may be the machine's own
    mount_shared();
  for (size_t i = 0; i < count; i++) {
    struct folder *f = &folders[i];
    bool sandbox = !strcmp(f->path, options.sandbox);
    if (!sandbox && strcmp(f->path, "/tmp"))
      fail(F_SUPERVISOR, EINVAL, "only the sandbox folder and /tmp can be bounded", f->path);
    int fd = open(f->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
      fail(F_SUPERVISOR, errno, "no folder to bound", f->path);
    if (mounted(f, sandbox)) {
      close(fd);
      continue;
    }
    if (options.pid1) // outside a container it may be the machine's own
      empty(fd);
    if (fchmod(fd, sandbox ? 0755 : 01777) < 0)
      fail(F_SUPERVISOR, errno, "a folder can't be opened to the user", f->path);
    struct stat st;
    if (fstat(fd, &st) < 0)
      fail(F_SUPERVISOR, errno, "a folder can't be watched", f->path);
    f->fd = fd;
    f->device = st.st_dev;
    watching = true;
  }
  return count > 0;
}

uint32_t disk_abilities(void) { return (count > 0 && !watching ? A_TMPFS : 0u) | (watching ? A_WATCH : 0u); }

static uint64_t most_entries(const struct folder *f) { return f->most / BYTES_PER_INODE + 1; }

static bool over(const struct folder *f) { return f->used > f->most || f->entries > most_entries(f); }

// What is taken of the folder's file system; `scarce` where a tenth is left or less.
static struct space taken(const struct folder *f, bool *scarce) {
  struct statvfs fs;
  *scarce = false;
  if (fstatvfs(f->fd, &fs) < 0)
    return (struct space){0, 0};
  *scarce = fs.f_bavail < fs.f_blocks / 10 || (fs.f_files && fs.f_favail < fs.f_files / 10);
  return (struct space){(fs.f_blocks - fs.f_bfree) * fs.f_frsize, fs.f_files - fs.f_ffree};
}

static uint64_t grown(uint64_t now_is, uint64_t was) { return now_is > was ? now_is - was : 0; }

// Adds what lies below `dir`, which it closes. Stops as soon as the bound is passed, so that a look is bounded as well.
static void measure(struct folder *f, int dir, int depth) {
  DIR *list = fdopendir(dir);
  if (!list || depth > MOST_DEPTH) {
    f->used = UINT64_MAX; // what can't be measured doesn't fit
    list ? closedir(list) : close(dir);
    return;
  }
  for (struct dirent *e; !over(f) && (e = readdir(list));) {
    struct stat st;
    heartbeat();
    if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..") ||
        fstatat(dirfd(list), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0) // gone meanwhile
      continue;
    f->entries++;
    f->used += (uint64_t)st.st_blocks * 512 / (S_ISDIR(st.st_mode) || st.st_nlink == 0 ? 1 : st.st_nlink);
    if (!S_ISDIR(st.st_mode))
      continue;
    int below = openat(dirfd(list), e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (below >= 0)
      measure(f, below, depth + 1);
    else if (errno != ENOENT && errno != ENOTDIR && errno != ELOOP)
      f->used = UINT64_MAX;
  }
  closedir(list);
}

// Whether the step hides more than the folders of a file system may hold together: in files that it has deleted and
// keeps open. The file system has become fuller by more than what is seen there, and others may have done that. So it
// is looked for; where the disk runs out and the rest is not to be found (a descriptor that is under way between two
// processes, a mapping, a process that nobody may look into), the step is not waited for.
static bool hides(const struct folder *first) {
  bool scarce;
  struct space is = taken(first, &scarce);
  uint64_t seen = 0, entries = 0, most = 0, allowed = 0, files;
  for (size_t i = 0; i < count; i++)
    if (folders[i].fd >= 0 && folders[i].device == first->device) {
      seen += folders[i].used;
      entries += folders[i].entries;
      most += folders[i].most;
      allowed += most_entries(&folders[i]);
    }
  uint64_t bytes = grown(grown(is.bytes, first->at_begin.bytes), seen);
  uint64_t names = grown(grown(is.entries, first->at_begin.entries), entries);
  if (bytes <= most / 4 && names <= allowed / 4)
    return false;
  uint64_t held = held_bytes(first->device, most, &files);
  return held > most || held + seen > most || files + entries > allowed ||
         (scarce && (bytes > most || names > allowed));
}

static bool look(void) {
  uint64_t began = now();
  bool passed = false, scarce;
  for (size_t i = 0; i < count; i++) {
    struct folder *f = &folders[i];
    int fd = f->fd < 0 ? -1 : openat(f->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
      continue;
    f->at_look = taken(f, &scarce);
    f->used = f->entries = 0;
    measure(f, fd, 0);
    passed |= over(f);
  }
  for (size_t i = 0; i < count && !passed; i++)
    passed = folders[i].fd >= 0 && hides(&folders[i]);
  uint64_t ended = now(), pause = (ended - began) * LOOK_SHARE;
  next_look = ended + (pause > LOOK_NS ? pause : LOOK_NS);
  hurried_look = ended + (ended - began) * HURRIED_SHARE;
  return passed;
}

// Whether so much was written since the last look that the next one should not wait.
static bool fills(void) {
  bool scarce;
  for (size_t i = 0; i < count; i++) {
    struct folder *f = &folders[i];
    if (f->fd < 0)
      continue;
    struct space is = taken(f, &scarce);
    if (grown(is.bytes, f->at_look.bytes) > f->most / 4 || grown(is.entries, f->at_look.entries) > most_entries(f) / 4)
      return true;
  }
  return false;
}

int disk_timeout(void) {
  uint64_t t = now(), soonest = next_check < next_look ? next_check : next_look;
  return !watching ? -1 : t >= soonest ? 0 : (int)((soonest - t) / 1000000) + 1;
}

bool disk_passed(bool at_once) {
  if (!watching)
    return false;
  uint64_t t = now();
  bool due = at_once || t >= next_look;
  if (!due && t >= next_check) {
    next_check = t + CHECK_NS;
    due = t >= hurried_look && fills();
  }
  return due && look();
}

void disk_begin(void) {
  bool scarce;
  for (size_t i = 0; i < count; i++)
    if (folders[i].fd >= 0)
      folders[i].at_begin = folders[i].at_look = taken(&folders[i], &scarce);
  hurried_look = 0;
  next_check = now() + CHECK_NS;
  next_look = now() + LOOK_NS;
}

// A page more than a folder may hold: a file that fills it is seen to.
uint64_t disk_largest(uint64_t asked) {
  uint64_t most = 0;
  for (size_t i = 0; i < count; i++)
    if (folders[i].fd >= 0 && folders[i].most > most)
      most = folders[i].most;
  return most && most + 4096 < asked ? most + 4096 : asked;
}

bool disk_takes(uint64_t bytes) {
  for (size_t i = 0; i < count; i++) {
    struct folder *f = &folders[i];
    if (f->fd < 0 || strcmp(f->path, options.sandbox))
      continue;
    // What was replaced since the last look is still counted.
    if ((bytes > f->most || f->used > f->most - bytes || over(f)) &&
        (look(), bytes > f->most || f->used > f->most - bytes || over(f))) {
      errno = ENOSPC;
      return false;
    }
    f->used += bytes;
    f->entries++;
  }
  return true;
}
