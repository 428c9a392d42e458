// A filter for the user's system calls, so that isolation doesn't hang on the engine's: Docker below 1.10 has none, and
// every engine's default one opens up where a container was created with CAP_SYS_ADMIN. It refuses what makes mounts
// and namespaces (a user namespace would give the program all capabilities in it), and the kernel's parts that
// namespaces don't confine: most of them Docker's own default refuses to everybody, some it doesn't.
#include "supervisor.h"
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/utsname.h>

#define NEW_NAMESPACES 0x7e020000u // CLONE_NEW* of clone(2), CLONE_NEWTIME aside, which clone does not take
#define X32 0x40000000u
// Calls for x32 programs alone, which kernels before 5.4 take without X32's bit as well: ptrace is 101, and 521 too.
#define X32_FIRST 512
#define X32_LAST 547
#define CLONE3 435
// Same number on every architecture: open_tree, move_mount, fsopen, fsconfig, fsmount, fspick, mount_setattr,
// open_tree_attr, io_uring_setup, io_uring_enter, io_uring_register, quotactl_fd.
#define SINCE_5 428, 429, 430, 431, 432, 433, 442, 467, 425, 426, 427, 443
#define NONE 0xffff // ends a list; 0 is a call

struct calls {
  uint32_t architecture, clone;
  // What makes sockets, whose first argument is the family.
  uint16_t sockets[3];
  // What makes them in memory that a filter can't look into: refused where its first argument says so.
  uint16_t socketcall;
  uint16_t refused[36];
  // Answered as by a kernel that lacks them: io_setup takes slots of which the whole machine has 65,536.
  uint16_t unknown[2];
  // A tracer changes the number of a call behind the filter's back, before Linux 4.8: ptrace, process_vm_readv,
  // process_vm_writev.
  uint16_t traces[4];
  // shmget, semget, msgget, and for 32-bit programs ipc, which stands for all.
  uint16_t ipc[5];
};

// mount, umount2, pivot_root, unshare, setns, add_key, request_key, keyctl, bpf, perf_event_open, userfaultfd, kcmp,
// open_by_handle_at, syslog, quotactl, fanotify_init, lookup_dcookie; for 32-bit programs on a 64-bit kernel by their
// numbers there (arch/x86/entry/syscalls, arch/arm/tools/syscall.tbl).
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
     .sockets = {SYS_socket, SYS_socketpair, NONE},
     .socketcall = NONE,
     .refused = {SYS_mount, SYS_umount2, SYS_pivot_root, SYS_unshare, SYS_setns, SYS_add_key, SYS_request_key,
                 SYS_keyctl, SYS_bpf, SYS_perf_event_open, SYS_userfaultfd, SYS_kcmp, SYS_open_by_handle_at, SYS_syslog,
                 SYS_quotactl, SYS_fanotify_init, SYS_lookup_dcookie, SINCE_5, NONE},
     .unknown = {SYS_io_setup, NONE},
     .traces = {SYS_ptrace, SYS_process_vm_readv, SYS_process_vm_writev, NONE},
     .ipc = {SYS_shmget, SYS_semget, SYS_msgget, NONE}},
#if defined __x86_64__
    {AUDIT_ARCH_I386,
     120,
     {359, 360, NONE},
     102,
     {21,      52,  217, 310, 346, 286, 287, 288, 357, 336, 374, 349, 342, 103, 131, 338, 253, 22 /* umount */,
      SINCE_5, NONE},
     {245, NONE},
     {26, 347, 348, NONE},
     {395, 393, 399, 117, NONE}},
#else
    {AUDIT_ARCH_ARM,
     120,
     {281, 288, NONE},
     102,
     {21, 52, 218, 337, 375, 309, 310, 311, 386, 364, 388, 378, 371, 103, 131, 367, 249, SINCE_5, NONE},
     {243, NONE},
     {26, 376, 377, NONE},
     {307, 299, 303, 117, NONE}},
#endif
};

// The families of a program that talks to itself. Others know no network namespace (vsock reaches the hypervisor and
// the machine itself), or have the kernel load a module.
static const uint32_t families[] = {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK};
#define FAMILIES (sizeof families / sizeof *families)

static struct sock_filter code[400];
static unsigned short length;

static const uint32_t no = SECCOMP_RET_ERRNO | EPERM, absent = SECCOMP_RET_ERRNO | ENOSYS;

static void add(uint16_t operation, uint32_t value, uint8_t on_true, uint8_t on_false) {
  code[length++] = (struct sock_filter){operation, on_true, on_false, value};
}

static void load(size_t from) { add(BPF_LD | BPF_W | BPF_ABS, (uint32_t)from, 0, 0); }
static void first_argument(void) { load(offsetof(struct seccomp_data, args)); } // the lower half: all are little endian

static void answer_if(uint32_t value, uint32_t answer) {
  add(BPF_JMP | BPF_JEQ | BPF_K, value, 0, 1);
  add(BPF_RET | BPF_K, answer, 0, 0);
}

static void answer_each(const uint16_t *calls, uint32_t answer) {
  for (; *calls != NONE; calls++)
    answer_if(*calls, answer);
}

// Sockets of the families above and of no other.
static void sockets(const uint16_t *calls) {
  for (; *calls != NONE; calls++) {
    add(BPF_JMP | BPF_JEQ | BPF_K, *calls, 0, FAMILIES * 2 + 2);
    first_argument();
    for (size_t i = 0; i < FAMILIES; i++)
      answer_if(families[i], SECCOMP_RET_ALLOW);
    add(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EAFNOSUPPORT, 0, 0);
  }
}

// 1 is socket, 8 socketpair (linux/net.h). C libraries of 2015 and later call socket itself on kernels since 4.3.
static void socketcall(uint16_t call) {
  if (call == NONE)
    return;
  add(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 6);
  first_argument();
  answer_if(1, SECCOMP_RET_ERRNO | EAFNOSUPPORT);
  answer_if(8, SECCOMP_RET_ERRNO | EAFNOSUPPORT);
  add(BPF_RET | BPF_K, SECCOMP_RET_ALLOW, 0, 0);
}

static void calls_of(const struct calls *m, bool traces, bool ipc) {
  load(offsetof(struct seccomp_data, arch));
  unsigned short skip = length;
  add(BPF_JMP | BPF_JEQ | BPF_K, m->architecture, 0, 0);
  load(offsetof(struct seccomp_data, nr));
  add(BPF_JMP | BPF_JGE | BPF_K, X32, 0, 1);
  add(BPF_RET | BPF_K, absent, 0, 0);
  add(BPF_JMP | BPF_JGE | BPF_K, X32_FIRST, 0, 2);
  add(BPF_JMP | BPF_JGT | BPF_K, X32_LAST, 1, 0);
  add(BPF_RET | BPF_K, absent, 0, 0);
  answer_each(m->refused, no);
  answer_each(m->unknown, absent);
  if (!traces)
    answer_each(m->traces, no);
  if (!ipc)
    answer_each(m->ipc, absent);
  answer_if(CLONE3, absent); // its flags are out of a filter's sight; the C libraries then take clone
  sockets(m->sockets);
  socketcall(m->socketcall);
  add(BPF_JMP | BPF_JEQ | BPF_K, m->clone, 0, 3);
  first_argument();
  add(BPF_JMP | BPF_JSET | BPF_K, NEW_NAMESPACES, 0, 1);
  add(BPF_RET | BPF_K, no, 0, 0);
  add(BPF_RET | BPF_K, SECCOMP_RET_ALLOW, 0, 0);
  code[skip].jf = (uint8_t)(length - skip - 1);
}

// Since 4.8 a filter sees the number that a tracer has put in the place of the first.
static bool filters_after_tracers(void) {
  struct utsname name;
  if (uname(&name) < 0)
    return false;
  char *end;
  unsigned long major = strtoul(name.release, &end, 10), minor = *end == '.' ? strtoul(end + 1, NULL, 10) : 0;
  return major > 4 || (major == 4 && minor >= 8);
}

bool filter_calls(bool ipc) {
  bool traces = filters_after_tracers();
  length = 0;
  for (size_t i = 0; i < sizeof machines / sizeof *machines; i++)
    calls_of(&machines[i], traces, ipc);
  add(BPF_RET | BPF_K, absent, 0, 0);
  struct sock_fprog program = {length, code};
  // EINVAL: a kernel without filters (before 3.5, or built without them).
  return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) == 0 || errno == EINVAL;
}
