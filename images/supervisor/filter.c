// A filter for the user's system calls, so that isolation doesn't hang on the engine's: Docker below 1.10 has none, and
// every engine's default one opens up where a container was created with CAP_SYS_ADMIN. It refuses what makes mounts
// and namespaces (a user namespace would give the program all capabilities in it), and the kernel's parts that Docker's
// own default refuses to everybody because they are not confined by namespaces.
#include "supervisor.h"
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#define NEW_NAMESPACES 0x7e020000u // CLONE_NEW* of clone(2), CLONE_NEWTIME aside, which clone does not take
#define X32 0x40000000u
#define CLONE3 435
// Same number on every architecture: open_tree, move_mount, fsopen, fsconfig, fsmount, fspick, mount_setattr,
// io_uring_setup, io_uring_enter, io_uring_register.
#define SINCE_5 428, 429, 430, 431, 432, 433, 442, 425, 426, 427

struct calls {
  uint32_t architecture, clone;
  uint16_t refused[25]; // to the first 0
};

// mount, umount2, pivot_root, unshare, setns, add_key, request_key, keyctl, bpf, perf_event_open, userfaultfd, kcmp,
// open_by_handle_at; for 32-bit programs on a 64-bit kernel by their numbers there (arch/x86/entry/syscalls,
// arch/arm/tools/syscall.tbl).
static const struct calls machines[] = {
    {.architecture =
#if defined __x86_64__
         AUDIT_ARCH_X86_64,
#elif defined __aarch64__
         AUDIT_ARCH_AARCH64,
#else
#error "no such machine yet"
#endif
     .clone = SYS_clone,
     .refused = {SYS_mount, SYS_umount2, SYS_pivot_root, SYS_unshare, SYS_setns, SYS_add_key, SYS_request_key,
                 SYS_keyctl, SYS_bpf, SYS_perf_event_open, SYS_userfaultfd, SYS_kcmp, SYS_open_by_handle_at, SINCE_5}},
#if defined __x86_64__
    {AUDIT_ARCH_I386, 120, {21, 52, 217, 310, 346, 286, 287, 288, 357, 336, 374, 349, 342, 22 /* umount */, SINCE_5}},
#else
    {AUDIT_ARCH_ARM, 120, {21, 52, 218, 337, 375, 309, 310, 311, 386, 364, 388, 378, 371, SINCE_5}},
#endif
};

static struct sock_filter code[160];
static unsigned short length;

static void add(uint16_t operation, uint32_t value, uint8_t on_true, uint8_t on_false) {
  code[length++] = (struct sock_filter){operation, on_true, on_false, value};
}

static void answer_if(uint32_t call, uint32_t answer) {
  add(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1);
  add(BPF_RET | BPF_K, answer, 0, 0);
}

static void calls_of(const struct calls *m) {
  const uint32_t no = SECCOMP_RET_ERRNO | EPERM, unknown = SECCOMP_RET_ERRNO | ENOSYS;
  add(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch), 0, 0);
  unsigned short skip = length;
  add(BPF_JMP | BPF_JEQ | BPF_K, m->architecture, 0, 0);
  add(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr), 0, 0);
  add(BPF_JMP | BPF_JGE | BPF_K, X32, 0, 1);
  add(BPF_RET | BPF_K, unknown, 0, 0);
  for (const uint16_t *call = m->refused; *call; call++)
    answer_if(*call, no);
  answer_if(CLONE3, unknown); // its flags are out of a filter's sight; the C libraries then take clone
  add(BPF_JMP | BPF_JEQ | BPF_K, m->clone, 0, 3);
  add(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args), 0, 0); // the lower half: both are little endian
  add(BPF_JMP | BPF_JSET | BPF_K, NEW_NAMESPACES, 0, 1);
  add(BPF_RET | BPF_K, no, 0, 0);
  add(BPF_RET | BPF_K, SECCOMP_RET_ALLOW, 0, 0);
  code[skip].jf = (uint8_t)(length - skip - 1);
}

bool filter_calls(void) {
  length = 0;
  for (size_t i = 0; i < sizeof machines / sizeof *machines; i++)
    calls_of(&machines[i]);
  add(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS, 0, 0);
  struct sock_fprog program = {length, code};
  // EINVAL: a kernel without filters (before 3.5, or built without them).
  return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) == 0 || errno == EINVAL;
}
