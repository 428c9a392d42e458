#include "session.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MOST_STDIN (64ull << 20)

static struct {
  int fd;
  uint64_t left;
  bool is_stdin;
  mode_t mode;
  uint64_t size;
  struct timespec mtime;
  struct predecessor old;
  struct digest digest;
  char path[MAX_PATH_BYTES + 1];
} file = {.fd = -1};
static int input = -1;
static bool folders;

bool receive_in_file(void) { return file.fd >= 0; }

static _Noreturn void cannot(const char *what, const char *path) {
  bool space = errno == ENOSPC || errno == EDQUOT || errno == ENOMEM;
  fail(space ? F_SPACE : F_FILE, errno, what, path);
}

static void written(void) {
  if (file.is_stdin) {
    lseek(file.fd, 0, SEEK_SET);
    input = file.fd;
    file.fd = -1;
    return;
  }
  uint64_t hash = digest_end(&file.digest);
  struct timespec time = age_of(&file.old, file.size, hash, file.mtime), times[2] = {time, time};
  struct stat st;
  if (file.mode & 07000 && fchmod(file.fd, file.mode) < 0) // writing takes the set-user bit away
    cannot("a file's mode can't be set", file.path);
  if (futimens(file.fd, times) < 0 || fstat(file.fd, &st) < 0)
    cannot("a file's time can't be set", file.path);
  known_stamp(known_add(file.path, K_FILE), &st, hash);
  close(file.fd);
  file.fd = -1;
}

static void take_path(struct cursor *c, char *path) {
  uint16_t length;
  const char *text = take_str(c, &length);
  if (c->bad || !path_ok(text, length))
    fail(F_PROTOCOL, 0, "a bad path", "");
  memcpy(path, text, length);
  path[length] = 0;
}

static struct timespec take_time(struct cursor *c) {
  struct timespec t = {.tv_sec = (time_t)(int64_t)take(c, 8)};
  t.tv_nsec = (long)take(c, 4);
  if (t.tv_nsec >= (long)NS)
    c->bad = true;
  return t;
}

static struct predecessor predecessor(const char *path) {
  struct predecessor old = {.there = false};
  const struct known *k = known_find(path);
  const char *name;
  struct stat st;
  int dir = k && k->kind == K_FILE ? tree_parent(path, false, &name) : -1;
  if (dir < 0)
    return old;
  if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
    old = (struct predecessor){true, known_same(k, &st), (uint64_t)st.st_size, k->hash, st.st_mtim};
  close(dir);
  return old;
}

static void begin_file(struct cursor *c) {
  file.mode = (mode_t)take(c, 4);
  file.mtime = take_time(c);
  file.left = file.size = take(c, 8);
  take_path(c, file.path);
  if (c->bad || c->at != c->end || file.mode > 07777)
    fail(F_PROTOCOL, 0, "a bad FILE", "");
  file.old = predecessor(file.path);
  known_forget_below(file.path);
  if (!disk_takes(file.left))
    cannot("a file doesn't fit", file.path);
  const char *name;
  int dir = tree_parent(file.path, true, &name);
  if (dir < 0 || tree_remove(dir, name, 0) < 0)
    cannot("a file can't be made", file.path);
  file.fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (file.fd < 0 || fchown(file.fd, options.uid, options.gid) < 0 || fchmod(file.fd, file.mode) < 0)
    cannot("a file can't be made", file.path);
  close(dir);
  file.is_stdin = false;
  digest_begin(&file.digest);
  if (file.left == 0)
    written();
}

static void begin_stdin(struct cursor *c) {
  file.left = take(c, 8);
  if (c->bad || c->at != c->end || file.left > MOST_STDIN)
    fail(F_PROTOCOL, 0, "a bad STDIN", "");
  if (input >= 0)
    close(input);
  input = -1;
  file.fd = (int)syscall(SYS_memfd_create, "stdin", 1 /* MFD_CLOEXEC */);
  if (file.fd < 0) { // before Linux 3.17: a file that nobody can name
    int dir = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    tree_remove(dir, ".katafleet-stdin", 0); // the user's, of an earlier step
    file.fd = openat(dir, ".katafleet-stdin", O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (file.fd >= 0)
      unlinkat(dir, ".katafleet-stdin", 0);
    close(dir);
  }
  // The user's, so that /dev/stdin can be opened.
  if (file.fd < 0 || fchown(file.fd, options.uid, options.gid) < 0)
    cannot("no place for standard input", "");
  file.is_stdin = true;
  file.path[0] = 0;
  if (file.left == 0)
    written();
}

static void data(const uint8_t *bytes, uint32_t length) {
  if (file.fd < 0 || length == 0 || length > file.left)
    fail(F_PROTOCOL, 0, "DATA that nobody announced", "");
  if (!file.is_stdin)
    digest_add(&file.digest, bytes, length);
  file.left -= length;
  while (length > 0) {
    ssize_t n = write(file.fd, bytes, length);
    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0)
      cannot(file.is_stdin ? "standard input can't be kept" : "a file can't be written", file.path);
    bytes += n;
    length -= (uint32_t)n;
  }
  if (file.left == 0)
    written();
}

static void folder(struct cursor *c) {
  char path[MAX_PATH_BYTES + 1];
  mode_t mode = (mode_t)take(c, 4);
  struct timespec mtime = take_time(c);
  take_path(c, path);
  if (c->bad || c->at != c->end || mode > 07777)
    fail(F_PROTOCOL, 0, "a bad DIR", "");
  const char *name;
  struct stat st;
  int dir = tree_parent(path, true, &name);
  if (dir < 0)
    cannot("a folder can't be made", path);
  bool there = fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
  if (!there) {
    known_forget_below(path);
    if (tree_remove(dir, name, 0) < 0 || mkdirat(dir, name, 0700) < 0)
      cannot("a folder can't be made", path);
  }
  // O_NOFOLLOW on what was just made: fchmodat has no such flag.
  int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0 || fchown(fd, options.uid, options.gid) < 0 || fchmod(fd, mode) < 0)
    cannot("a folder can't be made", path);
  close(fd);
  close(dir);
  struct known *k = known_add(path, K_DIR);
  k->mtime = mtime;
  k->seen = 1; // its time is yet to be set
  folders = true;
}

void receive_settle(void) {
  if (!folders)
    return;
  folders = false;
  size_t i = 0;
  for (struct known *k; (k = known_next(&i));) {
    if (k->kind != K_DIR || !k->seen)
      continue;
    k->seen = 0;
    const char *name;
    int dir = tree_parent(known_path(k), false, &name);
    struct timespec times[2] = {k->mtime, k->mtime};
    if (dir < 0 || utimensat(dir, name, times, AT_SYMLINK_NOFOLLOW) < 0)
      cannot("a folder's time can't be set", known_path(k));
    close(dir);
  }
}

static void delete (struct cursor *c) {
  char path[MAX_PATH_BYTES + 1];
  take_path(c, path);
  if (c->bad || c->at != c->end)
    fail(F_PROTOCOL, 0, "a bad DELETE", "");
  known_forget_below(path);
  const char *name;
  int dir = tree_parent(path, false, &name);
  if (dir < 0) {
    if (errno != ENOENT && errno != ENOTDIR && errno != ELOOP)
      cannot("a file can't be deleted", path);
    return;
  }
  if (tree_remove(dir, name, 0) < 0)
    cannot("a file can't be deleted", path);
  close(dir);
}

void receive(uint8_t type, const uint8_t *payload, uint32_t length) {
  struct cursor c = {payload, payload + length, false};
  if ((type == DATA_IN) != (file.fd >= 0))
    fail(F_PROTOCOL, 0, "a frame in the middle of a file", "");
  switch (type) {
  case FILE_IN:
    begin_file(&c);
    break;
  case DATA_IN:
    data(payload, length);
    break;
  case DIR_IN:
    folder(&c);
    break;
  case DELETE:
    delete (&c);
    break;
  default:
    begin_stdin(&c);
  }
}

int receive_stdin(void) {
  int fd = input;
  input = -1;
  return fd;
}

#ifdef KATAFLEET_FUZZ
void receive_reset(void) {
  if (file.fd >= 0)
    close(file.fd);
  if (input >= 0)
    close(input);
  file.fd = input = -1;
  folders = false;
  known_reset();
  age_reset();
  glob_reset();
}
#endif
