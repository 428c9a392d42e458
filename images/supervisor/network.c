// The way out of the network that a dialled connection needs: into a namespace with nothing but loopback. Connections
// that are open stay where they were made.
#include "supervisor.h"
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
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
