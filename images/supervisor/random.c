#include "dial.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

void random_bytes(void *to, size_t length) {
#ifdef KATAFLEET_FUZZ
  memset(to, 0xbb, length); // the same every time, so that an input can hold the right answer
  return;
#endif
  uint8_t *at = to;
  int fd = -1;
  while (length > 0) {
    ssize_t n = fd < 0 ? syscall(SYS_getrandom, at, length, 0) : read(fd, at, length);
    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0) {
      if (fd < 0 && (fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC)) >= 0) // before Linux 3.17
        continue;
      fputs("supervisor: the kernel has no random bytes\n", stderr);
      _exit(1);
    }
    at += n;
    length -= (size_t)n;
  }
  if (fd >= 0)
    close(fd);
}

uint32_t random_below(uint32_t below) {
  uint32_t value, most = UINT32_MAX - UINT32_MAX % below;
  do
    random_bytes(&value, sizeof value);
  while (value >= most);
  return value % below;
}
