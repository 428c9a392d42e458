// How long the supervisor's own code waits for the clock after a step. First argument: by how many seconds the clock is
// set back when the step is over. Prints the milliseconds that a thousand files waited together, and a thousand more
// whose predecessors have each the time of the second in which they come.
#include "../../images/supervisor/session.h"
#include <poll.h>
#include <stdlib.h>
#include <time.h>

static long long clock_ms = 1000000ll * 1000, waited;

static int stand_in_clock(struct timespec *t) {
  *t = (struct timespec){.tv_sec = clock_ms / 1000, .tv_nsec = clock_ms % 1000 * 1000000};
  return 0;
}
static int stand_in_poll(int ms) {
  waited += ms;
  clock_ms += ms;
  return 0;
}
#define clock_gettime(clock, t) stand_in_clock(t)
#define poll(fds, count, ms) stand_in_poll(ms)
#include "../../images/supervisor/age.c"

void heartbeat(void) {}

int main(int argc, char **argv) {
  struct predecessor old = {.there = true, .size = 1};
  struct timespec sent = {0};
  if (argc < 2)
    return 64;
  age_step_over();
  struct timespec over = step_over;
  clock_ms -= atoll(argv[1]) * 1000;
  for (int i = 0; i < 1000; i++)
    if (!newer(age_of(&old, 2, 1, sent), over))
      return 1;
  printf("%lld ", waited);
  waited = 0;
  for (int i = 0; i < 1000; i++) {
    old.mtime = tick();
    struct timespec t = age_of(&old, 1, 1, sent);
    if (!newer(t, over) || t.tv_sec == old.mtime.tv_sec)
      return 1;
  }
  printf("%lld\n", waited);
  return 0;
}
