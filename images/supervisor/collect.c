#include "supervisor.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MOST_LISTED 1000
#define MOST_ENTRIES 1000000u
// Bytes of the names of files and folders in one answer.
#define MOST_NAMES (8u << 20)
// Names of one folder are sorted, so that the order is the same every time, up to this many bytes of them.
#define MOST_SORTED (1u << 20)

static enum frame asked;
static char path[MAX_PATH_BYTES + MAX_PART + 2];
static uint32_t sent, sent_folders, omitted_count, entries;
static uint64_t sent_bytes;
static size_t names_sent;
static uint8_t frame[MAX_PAYLOAD];

static void omit(enum omitted reason) {
  if (asked == BASELINE)
    return;
  if (++omitted_count > MOST_LISTED)
    return;
  size_t length = strnlen(path, MAX_PATH_BYTES);
  uint8_t *at = put(put(frame, reason, 1), length, 2);
  memcpy(at, path, length);
  out_wait_frame(OMITTED, frame, 3 + length);
}

static size_t header(const struct stat *st, bool changed, bool file) {
  uint8_t *at = put(frame, changed ? 2 : 1, 1);
  at = put(put(put(at, st->st_mode & 07777, 4), (uint64_t)st->st_mtim.tv_sec, 8), (uint64_t)st->st_mtim.tv_nsec, 4);
  if (file)
    at = put(at, (uint64_t)st->st_size, 8);
  size_t length = strlen(path);
  at = put(at, length, 2);
  memcpy(at, path, length);
  return (size_t)(at - frame) + length;
}

// Whether the path at hand may be told of; where it may not, that is said. What a program left behind never ends the
// sandbox: its output is still to be sent.
static bool nameable(void) {
  size_t length = strlen(path);
  if (!known_find(path) && !known_room(path))
    omit(O_COUNT);
  else if (names_sent + length > MOST_NAMES)
    omit(O_BYTES);
  else {
    names_sent += length;
    return true;
  }
  return false;
}

static bool hash_of(int fd, uint64_t *hash) {
  struct digest d;
  digest_begin(&d);
  for (ssize_t n; (n = read(fd, frame, sizeof frame)) != 0;) {
    heartbeat();
    if (n < 0 && errno != EINTR)
      return false;
    if (n > 0)
      digest_add(&d, frame, (size_t)n);
  }
  *hash = digest_end(&d);
  return lseek(fd, 0, SEEK_SET) == 0;
}

static void count(const struct stat *st) {
  sent++;
  sent_bytes += (uint64_t)st->st_size;
}

static void send_file(int fd, const struct stat *st, struct known *before) {
  out_wait_frame(FILE_OUT, frame, header(st, before, true));
  struct digest d;
  digest_begin(&d);
  for (uint64_t left = (uint64_t)st->st_size; left > 0;) {
    size_t want = left < sizeof frame ? (size_t)left : sizeof frame;
    ssize_t n = read(fd, frame, want);
    heartbeat();
    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0) { // shorter than it was: the frame's promise is kept
      memset(frame, 0, want);
      n = (ssize_t)want;
    }
    digest_add(&d, frame, (size_t)n);
    out_wait_frame(DATA_OUT, frame, (size_t)n);
    left -= (uint64_t)n;
  }
  count(st);
  struct known *k = known_add(path, K_FILE);
  known_stamp(k, st, digest_end(&d));
  k->seen = 1;
}

// As it is now, whatever the bounds on what comes back.
static void take_for_known(int fd, const struct stat *st) {
  uint64_t hash;
  if (!hash_of(fd, &hash))
    return;
  struct known *k = known_add(path, K_FILE);
  known_stamp(k, st, hash);
  k->seen = 1;
  count(st);
}

static void visit_file(int dir, const char *name, const struct stat *found) {
  struct known *before = known_find(path);
  if (before && before->kind != K_FILE)
    before = NULL;
  if (before) {
    before->seen = 1;
    if (known_same(before, found)) {
      if (asked == BASELINE)
        count(found);
      return;
    }
  }
  int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  struct stat st;
  if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_ino != found->st_ino) {
    omit(O_UNREADABLE);
  } else if (asked == BASELINE) {
    take_for_known(fd, &st);
  } else {
    uint64_t hash;
    bool same = false;
    if (before && before->size == (uint64_t)st.st_size) {
      if (!hash_of(fd, &hash)) {
        omit(O_UNREADABLE);
        close(fd);
        return;
      }
      same = hash == before->hash && before->mode == (st.st_mode & 07777);
    }
    if (same)
      known_stamp(before, &st, hash);
    else if (st.st_nlink > 1 && st.st_uid != options.uid)
      omit(O_HARD); // the image's, which the user may not be able to read by itself
    else if ((uint64_t)st.st_size > options.file_back)
      omit(O_LARGE);
    else if (sent >= options.files_back)
      omit(O_COUNT);
    else if ((uint64_t)st.st_size > options.bytes_back - sent_bytes)
      omit(O_BYTES);
    else if (!nameable())
      ;
    else if (asked == LIST) {
      out_wait_frame(LISTED, frame, header(&st, before, true));
      count(&st);
    } else
      send_file(fd, &st, before);
  }
  if (fd >= 0)
    close(fd);
}

static bool walk(int dir, int depth);

// Returns whether the name is a folder that holds a file, or one that is to come back.
static void visit(int dir, const char *name, size_t base, int depth) {
  size_t length = strlen(name);
  memcpy(path + base, name, length + 1);
  struct stat st;
  heartbeat();
  if (++entries > MOST_ENTRIES) {
    omit(O_COUNT);
    return;
  }
  if (base + length > MAX_PATH_BYTES || depth > MAX_PARTS) {
    omit(O_PATH_LONG);
    return;
  }
  if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
    omit(O_UNREADABLE);
    return;
  }
  bool wanted = asked == BASELINE || glob_wants(path);
  if (!wanted && !S_ISDIR(st.st_mode)) { // neither sent nor counted, but there
    struct known *before = S_ISREG(st.st_mode) ? known_find(path) : NULL;
    if (before && before->kind == K_FILE)
      before->seen = 1;
    return;
  }
  switch (st.st_mode & S_IFMT) {
  case S_IFREG:
    visit_file(dir, name, &st);
    return;
  case S_IFLNK:
    omit(O_LINK);
    return;
  case S_IFIFO:
    omit(O_FIFO);
    return;
  case S_IFSOCK:
    omit(O_SOCKET);
    return;
  case S_IFBLK:
  case S_IFCHR:
    omit(O_DEVICE);
    return;
  case S_IFDIR:
    break;
  default:
    omit(O_UNKNOWN);
    return;
  }
  int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) {
    omit(O_UNREADABLE);
    return;
  }
  path[base + length] = '/';
  path[base + length + 1] = 0;
  bool empty = walk(fd, depth);
  path[base + length] = 0;
  struct known *k = known_find(path);
  if (k && k->kind == K_DIR) {
    k->seen = 1;
  } else if (empty && asked == BASELINE) {
    known_add(path, K_DIR)->seen = 1;
  } else if (empty && !wanted) {
    return;
  } else if (empty && sent_folders >= options.files_back) {
    omit(O_COUNT);
  } else if (empty && nameable()) {
    sent_folders++;
    out_wait_frame(DIR_OUT, frame, header(&st, false, false));
    if (asked == COLLECT)
      known_add(path, K_DIR)->seen = 1;
  }
}

static int by_bytes(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

// Takes over `fd`. Returns whether the folder is empty.
static bool walk(int fd, int depth) {
  DIR *list = fdopendir(fd);
  if (!list)
    fail(F_SUPERVISOR, errno, "a folder can't be read", path);
  size_t base = strlen(path), count = 0, room = 0, bytes = 0;
  char **names = NULL;
  bool empty = true;
  for (;;) {
    struct dirent *e = entries <= MOST_ENTRIES ? readdir(list) : NULL;
    if (e && (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")))
      continue;
    if (e) {
      empty = false;
      if (count == room) {
        char **larger = realloc(names, (room = room ? room * 2 : 32) * sizeof *names);
        if (!larger)
          fail(F_SUPERVISOR, ENOMEM, "no memory to list a folder", path);
        names = larger;
      }
      if (!(names[count++] = strdup(e->d_name)))
        fail(F_SUPERVISOR, ENOMEM, "no memory to list a folder", path);
      bytes += strlen(e->d_name) + sizeof *names;
    }
    if (e && bytes < MOST_SORTED)
      continue;
    if (count > 1)
      qsort(names, count, sizeof *names, by_bytes);
    for (size_t i = 0; i < count; i++) {
      visit(dirfd(list), names[i], base, depth + 1);
      path[base] = 0;
      free(names[i]);
    }
    count = bytes = 0;
    if (!e)
      break;
  }
  free(names);
  if (asked == COLLECT)
    tree_unlock(dirfd(list)); // a session's next run would find it locked
  closedir(list);
  return empty;
}

// What was not met on the walk is gone.
static void tell_deleted(void) {
  size_t i = 0;
  for (struct known *k; (k = known_next(&i)); k->seen = 0) {
    if (k->seen)
      continue;
    size_t length = strlen(known_path(k));
    memcpy(put(frame, length, 2), known_path(k), length);
    if (asked != BASELINE && glob_wants(known_path(k)))
      out_wait_frame(DELETED, frame, 2 + length);
    if (asked != LIST)
      k->kind = K_GONE;
  }
}

void collect(enum frame type) {
  asked = type;
  receive_settle();
  sent = sent_folders = omitted_count = entries = 0;
  sent_bytes = names_sent = 0;
  path[0] = 0;
  int fd = openat(options.root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0)
    fail(F_SUPERVISOR, errno, "the sandbox folder can't be read", "");
  walk(fd, 0);
  tell_deleted();
  put(put(put(frame, sent, 4), sent_bytes, 8), omitted_count, 4);
  out_wait_frame(COLLECTED, frame, 16);
}
