// What a hostile program tries against its supervisor; the first argument says what. Static, so that it runs anywhere.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MiB (1 << 20)

// Takes all memory there is in a file that nothing maps: of this process nearly nothing is resident, so that the kernel
// would end another one, were the mark not there that this one wants to take back.
static void hog(void) {
  static char page[4096];
  int mark = open("/proc/self/oom_score_adj", O_WRONLY);
  printf("mark: %s\n", mark < 0 || write(mark, "0", 1) < 0 ? strerror(errno) : "taken back");
  fflush(stdout);
  int fd = (int)syscall(SYS_memfd_create, "hog", 0);
  while (write(fd, page, sizeof page) > 0)
    ;
  pause();
}

// Shared memory of System V, which no process has to hold; and semaphores and messages.
static void leave(int most) {
  for (int i = 0; i < most; i++) {
    int id = shmget(IPC_PRIVATE, MiB, 0); // a mode that lets nobody look at it
    char *at = shmat(id, NULL, 0);
    if (id < 0)
      exit(1);
    semget(IPC_PRIVATE, 3, 0600);
    msgget(IPC_PRIVATE, 0);
    if (at == (char *)-1) {
      id = shmget(IPC_PRIVATE, MiB, 0600);
      at = shmat(id, NULL, 0);
    }
    for (int j = 0; j < MiB; j += 4096)
      at[j] = 1;
    shmdt(at);
  }
}

// Files that are deleted and kept open: so many of so many MiB, by so many processes that share them.
static void hold(int files, int size, int hide) {
  static char block[MiB];
  memset(block, 7, sizeof block);
  for (int i = 0; i < files; i++) {
    int fd = open("held", O_CREAT | O_RDWR | O_EXCL, 0600);
    unlink("held");
    for (int j = 0; j < size; j++)
      if (write(fd, block, sizeof block) != sizeof block)
        exit(1);
    if (hide) { // in a mapping alone
      mmap(NULL, (size_t)size * MiB, PROT_READ, MAP_SHARED, fd, 0);
      close(fd);
    }
  }
  puts("held");
  fflush(stdout);
  pause();
}

static void spin(int processes) {
  while (--processes > 0 && fork() > 0)
    ;
  for (;;)
    ;
}

// Pseudo terminals: so many, by so many processes that keep them; of each only the other end where they hide it.
static void terminals(int most, int processes, int hide) {
  struct {
    int asked, held;
  } *all = mmap(NULL, sizeof *all, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  int ends[2], master, unlocked = 0, number = 0;
  if (pipe(ends) < 0)
    exit(1);
  for (int i = 0; i < processes; i++) {
    if (fork() > 0)
      continue;
    while (__atomic_fetch_add(&all->asked, 1, __ATOMIC_SEQ_CST) < most &&
           (master = open("/dev/ptmx", O_RDWR | O_NOCTTY)) >= 0) {
      char name[32];
      __atomic_fetch_add(&all->held, 1, __ATOMIC_SEQ_CST);
      ioctl(master, TIOCSPTLCK, &unlocked);
      ioctl(master, TIOCGPTN, &number);
      snprintf(name, sizeof name, "/dev/pts/%d", number);
      if (hide && (open(name, O_RDWR | O_NOCTTY) < 0 || close(master) < 0))
        exit(1);
    }
    if (all->asked <= most)
      perror("ptmx");
    close(ends[0]);
    close(ends[1]);
    pause();
  }
  close(ends[1]);
  (void)!read(ends[0], &number, 1); // ends when all of them have done what they could
  printf("held %d\n", all->held);
  fflush(stdout);
  pause();
}

static void handled(int number) {
  (void)number;
  puts("handled");
}

// Traced by its parent it stops at each signal, and at its exec.
static void traced(int code, char **argv) {
  if (syscall(SYS_ptrace, 0L, 0L, 0L, 0L) < 0)
    exit(64);
  if (code == 0) {
    argv[2] = "-1";
    execv(argv[0], argv);
  }
  if (code < 0)
    raise(SIGSEGV);
  signal(SIGUSR1, handled);
  raise(SIGUSR1);
  exit(code);
}

int main(int argc, char **argv) {
  int n = argc > 2 ? atoi(argv[2]) : 0;
  if (argc < 2)
    return 64;
  if (!strcmp(argv[1], "hog"))
    hog();
  else if (!strcmp(argv[1], "leave"))
    leave(n);
  else if (!strcmp(argv[1], "hold"))
    hold(n, argc > 3 ? atoi(argv[3]) : 1, argc > 4);
  else if (!strcmp(argv[1], "terminals"))
    terminals(n, argc > 3 ? atoi(argv[3]) : 1, argc > 4);
  else if (!strcmp(argv[1], "traced"))
    traced(n, argv);
  else if (!strcmp(argv[1], "spin"))
    spin(n);
}
