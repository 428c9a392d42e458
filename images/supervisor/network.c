// The way out of the network that a dialled connection needs: into a namespace with nothing but loopback. Connections
// that are open stay where they were made.
#include "supervisor.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

static int empty = -1;
static bool left;

// Without CAP_NET_ADMIN it stays down, and programs that talk to themselves go without.
static void raise_loopback(void) {
  struct ifreq lo = {.ifr_name = "lo"};
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd >= 0 && ioctl(fd, SIOCGIFFLAGS, &lo) == 0) {
    lo.ifr_flags |= IFF_UP;
    ioctl(fd, SIOCSIFFLAGS, &lo);
  }
  if (fd >= 0)
    close(fd);
}

// A /sys that was mounted for the machine's own network goes on to tell of its interfaces, whoever looks. It is a word
// and no way out: where nothing may be mounted (AppArmor), it stays.
static void hide_interfaces(void) {
  static const char *const folders[] = {"/sys/class/net", "/sys/devices/virtual/net"};
  for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
    mount("katafleet", folders[i], "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=4k,mode=0555");
}

void network_prepare(void) {
  int original = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
  if (original < 0 || unshare(CLONE_NEWNET) < 0)
    fail(F_SUPERVISOR, errno, "the network namespace can't be emptied", "");
  raise_loopback();
  empty = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
  if (empty < 0 || setns(original, CLONE_NEWNET) < 0)
    fail(F_SUPERVISOR, errno, "the network namespace can't be emptied", "");
  close(original);
  if (options.pid1) // outside a container it may be the machine's own
    hide_interfaces();
}

void network_leave(void) {
  if (setns(empty, CLONE_NEWNET) < 0)
    fail(F_SUPERVISOR, errno, "the network namespace can't be emptied", "");
  close(empty);
  empty = -1;
  left = true;
}

bool network_left(void) { return left; }

// ---- for steps of the host's that need the network after the supervisor has left it

static struct {
  sem_t wanted, done;
  void (*child)(const void *);
  const void *argument;
  pid_t pid;
  int error;
} birth;
static bool split;

static void *stay(void *unused) {
  capability_drop(CAP_SYS_ADMIN);
  capability_drop(CAP_NET_ADMIN);
  for (;;) {
    sem_post(&birth.done);
    while (sem_wait(&birth.wanted) < 0) // a signal, but those are blocked
      ;
    birth.pid = fork();
    if (birth.pid == 0)
      birth.child(birth.argument);
    birth.error = errno;
  }
  return unused;
}

// The thread's own folder tells of the network that it is on, the process's own no longer does.
static void hide_thread(void) {
  mount("katafleet", "/proc/1/task", "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=4k,mode=0555");
}

void network_split(void) {
  if (capability_held(CAP_SYS_ADMIN)) {
    pthread_t thread;
    sem_init(&birth.wanted, 0, 0);
    sem_init(&birth.done, 0, 0);
    hide_thread();
    if ((errno = pthread_create(&thread, NULL, stay, NULL)) != 0)
      fail(F_SUPERVISOR, errno, "no thread to stay on the network", "");
    while (sem_wait(&birth.done) < 0)
      ;
    if (unshare(CLONE_NEWNET) < 0)
      fail(F_SUPERVISOR, errno, "the network namespace can't be emptied", "");
    raise_loopback();
    split = left = true;
  }
  capability_drop(CAP_SYS_ADMIN);
  capability_drop(CAP_NET_ADMIN);
}

pid_t network_fork(void (*child)(const void *), const void *argument) {
  if (!split)
    return fork();
  birth.child = child;
  birth.argument = argument;
  sem_post(&birth.wanted);
  while (sem_wait(&birth.done) < 0)
    ;
  errno = birth.error;
  return birth.pid;
}
