#include "supervisor.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static int enter(int dir, const char *name) {
  return openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

// A folder of the user's in the way of a file, or a link in the way of a folder, gives way: the host says what is
// there.
static int make_folder(int dir, const char *name) {
  if (mkdirat(dir, name, 0755) < 0) {
    if (errno != EEXIST || tree_remove(dir, name, 0) < 0 || mkdirat(dir, name, 0755) < 0)
      return -1;
  }
  return fchownat(dir, name, options.uid, options.gid, AT_SYMLINK_NOFOLLOW);
}

int tree_parent(const char *path, bool make, const char **name) {
  char part[MAX_PART + 1];
  int dir = fcntl(options.root, F_DUPFD_CLOEXEC, 3);
  for (const char *slash; dir >= 0 && (slash = strchr(path, '/')); path = slash + 1) {
    memcpy(part, path, (size_t)(slash - path));
    part[slash - path] = 0;
    int next = enter(dir, part);
    if (next < 0 && make && (errno == ENOENT || errno == ENOTDIR || errno == ELOOP) && make_folder(dir, part) == 0)
      next = enter(dir, part);
    int error = errno;
    close(dir);
    errno = error;
    dir = next;
  }
  *name = path;
  return dir;
}

void tree_unlock(int dir) {
  struct stat st;
  if (fstat(dir, &st) == 0 && (st.st_mode & S_IRWXU) != S_IRWXU)
    fchmod(dir, (st.st_mode & 07777) | S_IRWXU);
}

int tree_remove(int dir, const char *name, int depth) {
  if (unlinkat(dir, name, 0) == 0 || errno == ENOENT)
    return 0;
  if (errno != EISDIR && errno != EPERM)
    return -1;
  // Deeper than the protocol's paths go, only the user can have made it; what is left then makes rmdir fail.
  if (unlinkat(dir, name, AT_REMOVEDIR) == 0)
    return 0;
  int fd = depth < 256 ? enter(dir, name) : -1;
  DIR *list = fd < 0 ? NULL : fdopendir(fd);
  if (!list) {
    if (fd >= 0)
      close(fd);
    return -1;
  }
  for (struct dirent *e; (e = readdir(list));)
    if (strcmp(e->d_name, ".") && strcmp(e->d_name, "..")) {
      heartbeat();
      tree_remove(dirfd(list), e->d_name, depth + 1);
    }
  closedir(list);
  return unlinkat(dir, name, AT_REMOVEDIR);
}
