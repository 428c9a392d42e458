#include "supervisor.h"
#include <errno.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};

bool capability_held(int capability) {
  struct __user_cap_data_struct sets[2] = {{0, 0, 0}, {0, 0, 0}};
  return syscall(SYS_capget, &header, sets) == 0 && sets[0].effective & 1u << capability;
}

void capability_drop(int capability) {
  bool held = capability_held(capability);
  // The bounding set first: that takes CAP_SETPCAP, and nothing gets back what is out of it.
  if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0 && held)
    fail(F_SUPERVISOR, errno, "a capability can't be given up without CAP_SETPCAP", "");
  prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); // EINVAL before Linux 4.3, which had none
  struct __user_cap_data_struct sets[2] = {{0, 0, 0}, {0, 0, 0}};
  if (syscall(SYS_capget, &header, sets) < 0)
    fail(F_SUPERVISOR, errno, "the capabilities can't be read", "");
  sets[0].effective &= ~(1u << capability);
  sets[0].permitted &= ~(1u << capability);
  sets[0].inheritable &= ~(1u << capability);
  if (syscall(SYS_capset, &header, sets) < 0 || capability_held(capability))
    fail(F_SUPERVISOR, errno, "a capability can't be given up", "");
}
