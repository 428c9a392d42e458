// The files of /etc that tell a program where it is and who: where the supervisor may mount, its own lie over those of
// the image and of the machine. Elsewhere (AppArmor, engines that mount the folders themselves) the driver has the
// engine write them, or an adapted image has them.
#include "supervisor.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/utsname.h>
#include <unistd.h>

// What an image's own passwd or group may hold to be carried over.
#define MOST_COPIED (1u << 18)
// As src/model/run.ts has them.
#define USER_NAME "sandbox"
#define HOST_NAME "sandbox"
#define LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-."

// Nobody listens there, and that is told at once.
static const char resolver[] = "nameserver 127.0.0.1\n";

static char copied[2][MOST_COPIED];
static size_t copied_length[2];
static int lists[2] = {-1, -1}; // passwd and group, to be written when the user is known
static char user_name[64] = USER_NAME;

static const char *const list_paths[2] = {"/etc/passwd", "/etc/group"};

// The bytes of a small file; false where it has none that can be had.
static bool copy(const char *path, char *to, size_t *length) {
  int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  ssize_t n = 1;
  for (*length = 0; fd >= 0 && *length < MOST_COPIED && n > 0; *length += n > 0 ? (size_t)n : 0)
    n = read(fd, to + *length, MOST_COPIED - *length);
  if (fd >= 0)
    close(fd);
  return fd >= 0 && n == 0;
}

static bool write_all(int fd, const char *bytes, size_t length) {
  while (length > 0) {
    ssize_t n = write(fd, bytes, length);
    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0)
      return false;
    bytes += n;
    length -= (size_t)n;
  }
  return true;
}

// Lays an empty file of the tmpfs at the sandbox folder over `path`, for all to read and for nobody to write but by the
// descriptor; -1 where that can't be done, and then what was there is still seen.
static int cover(const char *path) {
  char source[MAX_PATH_BYTES + 64];
  snprintf(source, sizeof source, "%s%s", options.sandbox, strrchr(path, '/'));
  int fd = open(source, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
  if (fd < 0)
    return -1;
  const unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY;
  if (mount(source, path, NULL, MS_BIND, NULL) == 0 && mount(NULL, path, NULL, MS_REMOUNT | MS_BIND | flags, NULL) == 0)
    return fd;
  close(fd);
  return -1;
}

static bool cover_with(const char *path, const char *text) {
  int fd = cover(path);
  if (fd < 0)
    return false;
  if (!write_all(fd, text, strlen(text)))
    fail(F_SUPERVISOR, errno, "a file of the sandbox's own can't be written", path);
  close(fd);
  return true;
}

// In a swarm the sandbox has its task's id for a name, which the hosts file that the engine wrote does not know: where
// that file stays, the sandbox takes the name that it does know.
static void take_known_name(void) {
  struct utsname own;
  const char *task = getenv("KATAFLEET_TASK");
  if (task && uname(&own) == 0 && !strcmp(task, own.nodename))
    sethostname(HOST_NAME, sizeof HOST_NAME - 1);
}

// The sandbox's name stands for its own loopback.
static void cover_hosts(void) {
  struct utsname own;
  if (uname(&own) < 0 || !*own.nodename || strspn(own.nodename, LETTERS) != strlen(own.nodename))
    strcpy(own.nodename, HOST_NAME);
  char text[sizeof own.nodename + 128];
  snprintf(text, sizeof text, "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.0.1\t%s\n",
           own.nodename);
  if (!cover_with("/etc/hosts", text))
    take_known_name();
}

void etc_cover(bool resolves) {
  // Outside a container they are the machine's own.
  if (!options.pid1 || !capability_held(CAP_SYS_ADMIN))
    return;
  bool there[2];
  for (int i = 0; i < 2; i++)
    there[i] = copy(list_paths[i], copied[i], &copied_length[i]);
  // A tmpfs that nobody else ever sees: what is bound from it stays when it goes.
  if (mount("katafleet", options.sandbox, "tmpfs", MS_NOSUID | MS_NODEV, "size=1m,nr_inodes=8,mode=0700") < 0) {
    if (errno != EACCES && errno != EPERM)
      fail(F_SUPERVISOR, errno, "the sandbox's own files can't be made", options.sandbox);
    if (!options.keeps_network)
      take_known_name();
    return;
  }
  if (!options.keeps_network)
    cover_hosts();
  if (!options.keeps_network && !resolves)
    cover_with("/etc/resolv.conf", resolver);
  for (int i = 0; i < 2; i++) {
    lists[i] = there[i] ? cover(list_paths[i]) : -1;
    if (lists[i] >= 0 && !write_all(lists[i], copied[i], copied_length[i]))
      fail(F_SUPERVISOR, errno, "a file of the sandbox's own can't be written", list_paths[i]);
  }
  if (umount2(options.sandbox, MNT_DETACH) < 0)
    fail(F_SUPERVISOR, errno, "the sandbox folder can't be uncovered", options.sandbox);
}

// The name that a line of passwd gives this uid, terminated; NULL where there is none.
static char *name_of(char *text, size_t length, uint32_t uid) {
  for (char *end = text + length, *line = text, *next; line < end; line = next) {
    char *stop = memchr(line, '\n', (size_t)(end - line));
    next = stop ? stop + 1 : end;
    char *password = memchr(line, ':', (size_t)(next - line));
    char *number = password ? memchr(password + 1, ':', (size_t)(next - password - 1)) : NULL;
    char *last = "";
    if (!number || password == line || !memchr(number + 1, ':', (size_t)(next - number - 1)))
      continue;
    if (strtoul(number + 1, &last, 10) == uid && *last == ':' && last != number + 1) {
      *password = 0;
      return line;
    }
  }
  return NULL;
}

void etc_user(void) {
  const char *home = "/tmp";
  size_t length;
  if (lists[0] >= 0 || lists[1] >= 0) {
    char line[2][128];
    snprintf(line[0], sizeof line[0], "%s:x:%u:%u::%s:/bin/sh\n", user_name, options.uid, options.gid, home);
    snprintf(line[1], sizeof line[1], "%s:x:%u:\n", user_name, options.gid);
    // In front, so that the name stands for this user, whoever has it in the image. An image that knows the user itself
    // is left as it is.
    for (int i = 0; i < 2; i++) {
      char *known = i == 0 ? name_of(copied[0], copied_length[0], options.uid) : NULL;
      if (known)
        break;
      if (lists[i] >= 0 && (lseek(lists[i], 0, SEEK_SET) < 0 || !write_all(lists[i], line[i], strlen(line[i])) ||
                            !write_all(lists[i], copied[i], copied_length[i])))
        fail(F_SUPERVISOR, errno, "the user can't be given a name", list_paths[i]);
    }
    for (int i = 0; i < 2; i++)
      if (lists[i] >= 0)
        close(lists[i]);
    lists[0] = lists[1] = -1;
  }
  if (copy(list_paths[0], copied[0], &length)) {
    const char *name = name_of(copied[0], length, options.uid);
    if (name && strlen(name) < sizeof user_name)
      strcpy(user_name, name);
  }
}

const char *etc_user_name(void) { return user_name; }
