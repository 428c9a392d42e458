// System V's shared memory, semaphores and messages belong to nobody: they, and the memory that they take of the
// sandbox's, would outlive the step. So they are removed at its end, before the supervisor needs memory itself.
#include "supervisor.h"
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <unistd.h>

// Lists of the namespace's objects, open and read once: a later look takes no memory, of which there may be none left.
static int lists[3] = {-1, -1, -1};
static char text[1 << 14];

void ipc_init(void) {
  static const char *const names[] = {"/proc/sysvipc/shm", "/proc/sysvipc/sem", "/proc/sysvipc/msg"};
  if (!options.pid1) // the machine's own
    return;
  for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
    lists[i] = open(names[i], O_RDONLY | O_CLOEXEC);
    if (lists[i] >= 0)
      (void)!read(lists[i], text, sizeof text - 1);
  }
}

static bool removed(size_t kind, int id) {
  return (kind == 0   ? shmctl(id, IPC_RMID, NULL)
          : kind == 1 ? semctl(id, 0, IPC_RMID)
                      : msgctl(id, IPC_RMID, NULL)) == 0;
}

// Removes what the list's first lines name ("key id …"), and tells whether there was any.
static bool remove_some(size_t kind) {
  ssize_t n = lseek(lists[kind], 0, SEEK_SET) < 0 ? -1 : read(lists[kind], text, sizeof text - 1);
  text[n > 0 ? n : 0] = 0;
  bool any = false;
  for (char *line = strchr(text, '\n'), *end; line && (end = strchr(line + 1, '\n')); line = end) {
    char *id = line + 1;
    strtol(id, &id, 10);
    any |= removed(kind, (int)strtol(id, NULL, 10));
  }
  return any;
}

void ipc_clear(void) {
  // Who made an object may remove it, and so does root with CAP_SYS_ADMIN, which is not here. Only this thread changes.
  bool root = geteuid() == 0;
  if (root && syscall(SYS_setresuid, -1, options.uid, -1) < 0)
    return;
  for (size_t kind = 0; kind < sizeof lists / sizeof *lists; kind++)
    while (lists[kind] >= 0 && remove_some(kind))
      heartbeat();
  if (root && syscall(SYS_setresuid, -1, 0, -1) < 0)
    fail(F_SUPERVISOR, 0, "it can't become root again", "");
}
