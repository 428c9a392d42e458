#include "session.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MOST_PATH_BYTES (64u << 20)
// A change within one tick of the kernel's clock can leave ctime as it was: files stamped this recently are read again.
#define RACY_NS 40000000ull

static struct known *entries;
static size_t count, room;
static uint32_t *slots; // index + 1 into entries; a power of two of them
static size_t slot_count;
static char *paths;
static size_t path_bytes, path_room;
static uint64_t key0, key1;

static void need_key(void) {
  if (key0 | key1)
    return;
  uint64_t key[2] = {0, 0};
  if (syscall(SYS_getrandom, key, sizeof key, 1) != sizeof key) {
    int fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
    if (fd < 0 || read(fd, key, sizeof key) != sizeof key)
      fail(F_SUPERVISOR, errno, "no random numbers", "");
    close(fd);
  }
  key0 = key[0];
  key1 = key[1] | 1;
}

// SipHash-2-4 with a key that nobody else knows: the user can't make two contents that look alike. (Aumasson,
// Bernstein: SipHash, 2012.)
#define ROTL(x, b) (((x) << (b)) | ((x) >> (64 - (b))))
static void rounds(struct digest *d, int n) {
  while (n--) {
    d->v0 += d->v1, d->v1 = ROTL(d->v1, 13) ^ d->v0, d->v0 = ROTL(d->v0, 32);
    d->v2 += d->v3, d->v3 = ROTL(d->v3, 16) ^ d->v2;
    d->v0 += d->v3, d->v3 = ROTL(d->v3, 21) ^ d->v0;
    d->v2 += d->v1, d->v1 = ROTL(d->v1, 17) ^ d->v2, d->v2 = ROTL(d->v2, 32);
  }
}

static void word(struct digest *d, uint64_t m) {
  d->v3 ^= m;
  rounds(d, 2);
  d->v0 ^= m;
}

void digest_begin(struct digest *d) {
  need_key();
  *d = (struct digest){key0 ^ 0x736f6d6570736575ull,
                       key1 ^ 0x646f72616e646f6dull,
                       key0 ^ 0x6c7967656e657261ull,
                       key1 ^ 0x7465646279746573ull,
                       0,
                       0};
}

void digest_add(struct digest *d, const void *bytes, size_t length) {
  const uint8_t *at = bytes, *end = at + length;
  while (at < end) {
    if ((d->length & 7) == 0 && end - at >= 8) {
      uint64_t m;
      memcpy(&m, at, 8);
      word(d, m);
      at += 8, d->length += 8;
      continue;
    }
    d->tail |= (uint64_t)*at++ << 8 * (d->length++ & 7);
    if ((d->length & 7) == 0)
      word(d, d->tail), d->tail = 0;
  }
}

uint64_t digest_end(struct digest *d) {
  word(d, d->tail | d->length << 56);
  d->v2 ^= 0xff;
  rounds(d, 4);
  return d->v0 ^ d->v1 ^ d->v2 ^ d->v3;
}

static uint64_t hash_path(const char *path) {
  struct digest d;
  digest_begin(&d);
  digest_add(&d, path, strlen(path));
  return digest_end(&d);
}

const char *known_path(const struct known *k) { return paths + k->path; }

static size_t slot_of(const char *path) {
  size_t i = hash_path(path) & (slot_count - 1);
  while (slots[i] && strcmp(known_path(&entries[slots[i] - 1]), path))
    i = (i + 1) & (slot_count - 1);
  return i;
}

struct known *known_find(const char *path) {
  if (slot_count == 0)
    return NULL;
  uint32_t at = slots[slot_of(path)];
  return at && entries[at - 1].kind != K_GONE ? &entries[at - 1] : NULL;
}

static void *grown(void *memory, size_t bytes) {
  void *larger = realloc(memory, bytes);
  if (!larger)
    fail(F_SPACE, ENOMEM, "no memory to remember the files", "");
  return larger;
}

bool known_room(const char *path) { return path_bytes + strlen(path) + 1 <= MOST_PATH_BYTES; }

struct known *known_add(const char *path, uint8_t kind) {
  if (count * 2 >= slot_count) {
    slot_count = slot_count ? slot_count * 2 : 256;
    free(slots);
    slots = grown(NULL, slot_count * sizeof *slots);
    memset(slots, 0, slot_count * sizeof *slots);
    for (size_t i = 0; i < count; i++)
      slots[slot_of(known_path(&entries[i]))] = (uint32_t)i + 1;
  }
  size_t slot = slot_of(path);
  if (!slots[slot]) {
    size_t length = strlen(path) + 1;
    if (path_bytes + length > MOST_PATH_BYTES)
      fail(F_SPACE, E2BIG, "too many files", path);
    if (count == room)
      entries = grown(entries, (room = room ? room * 2 : 128) * sizeof *entries);
    while (path_bytes + length > path_room)
      paths = grown(paths, path_room = path_room ? path_room * 2 : 4096);
    memcpy(paths + path_bytes, path, length);
    entries[count] = (struct known){.path = (uint32_t)path_bytes};
    path_bytes += length;
    slots[slot] = (uint32_t)++count;
  }
  struct known *k = &entries[slots[slot] - 1];
  k->kind = kind;
  k->ino = 0;
  return k;
}

struct known *known_next(size_t *i) {
  while (*i < count)
    if (entries[(*i)++].kind != K_GONE)
      return &entries[*i - 1];
  return NULL;
}

void known_forget_below(const char *path) {
  size_t length = strlen(path);
  for (size_t i = 0; i < count; i++) {
    const char *p = known_path(&entries[i]);
    if (!strncmp(p, path, length) && (p[length] == 0 || p[length] == '/'))
      entries[i].kind = K_GONE;
  }
}

void known_stamp(struct known *k, const struct stat *st, uint64_t hash) {
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  uint64_t age =
      ((uint64_t)t.tv_sec - (uint64_t)st->st_ctim.tv_sec) * NS + (uint64_t)t.tv_nsec - (uint64_t)st->st_ctim.tv_nsec;
  k->size = (uint64_t)st->st_size;
  k->hash = hash;
  k->mode = st->st_mode & 07777;
  k->mtime = st->st_mtim;
  k->ctime = st->st_ctim;
  k->ino = age > RACY_NS && age < 1ull << 62 ? st->st_ino : 0;
}

bool known_same(const struct known *k, const struct stat *st) {
  return k->ino != 0 && k->ino == st->st_ino && k->size == (uint64_t)st->st_size &&
         !memcmp(&k->mtime, &st->st_mtim, sizeof k->mtime) && !memcmp(&k->ctime, &st->st_ctim, sizeof k->ctime);
}

#ifdef KATAFLEET_FUZZ
void known_reset(void) {
  count = path_bytes = 0;
  if (slot_count)
    memset(slots, 0, slot_count * sizeof *slots);
}
#endif
