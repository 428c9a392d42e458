#include "session.h"
#include <poll.h>
#include <string.h>

// Files are stamped with the clock's last tick, on kernels from 6.13 on also with the clock itself (multigrain time
// stamps). So what a step wrote is not newer than the clock at its end.
static struct timespec step_over;
static bool stepped;
// How much longer files that come after the step may wait, all of them together, for a tick and for a second. A clock
// that was set back, or times that the step gave, would have each of them wait.
static int ticks_left, seconds_left;
#define MOST_TICK_MS 50
#define MOST_SECOND_MS 1500
#define LOOK_MS 10

static struct timespec tick(void) {
  struct timespec t;
  clock_gettime(CLOCK_REALTIME_COARSE, &t);
  return t;
}

static bool newer(struct timespec a, struct timespec b) {
  return a.tv_sec != b.tv_sec ? a.tv_sec > b.tv_sec : a.tv_nsec > b.tv_nsec;
}

static void wait_for_clock(int ms) {
  heartbeat();
#ifndef KATAFLEET_FUZZ
  poll(NULL, 0, ms);
#else
  (void)ms;
#endif
}

void age_step_over(void) {
  clock_gettime(CLOCK_REALTIME, &step_over);
  stepped = true;
  ticks_left = MOST_TICK_MS;
  seconds_left = MOST_SECOND_MS / LOOK_MS;
}

// A tick after the step, so that what is written later, stamped with a tick, is not older either. A tick is 10 ms at
// most, and can be late on a busy virtual machine. Where the clock was set back, the moment after the step has to do.
static struct timespec since_step(void) {
  struct timespec t = tick();
  for (; ticks_left > 0 && !newer(t, step_over); ticks_left--) {
    wait_for_clock(1);
    t = tick();
  }
  if (newer(t, step_over))
    return t;
  t = step_over;
  if (++t.tv_nsec == (long)NS)
    t = (struct timespec){.tv_sec = t.tv_sec + 1};
  return t;
}

struct timespec age_of(const struct predecessor *old, uint64_t size, uint64_t hash, struct timespec sent) {
  if (!stepped)
    return sent;
  if (old->there && old->intact && old->size == size && old->hash == hash)
    return newer(sent, old->mtime) ? sent : old->mtime;
  struct timespec t = since_step();
  if (newer(sent, t))
    t = sent;
  // Some tools, Python among them, know a source again by its size and the whole seconds of its time.
  if (!old->there || old->size != size)
    return t;
  for (; seconds_left > 0 && t.tv_sec == old->mtime.tv_sec && tick().tv_sec == t.tv_sec; seconds_left--)
    wait_for_clock(LOOK_MS);
  if (t.tv_sec == old->mtime.tv_sec) {
    t = tick();
    if (t.tv_sec <= old->mtime.tv_sec && old->mtime.tv_sec < INT64_MAX)
      t = (struct timespec){.tv_sec = old->mtime.tv_sec + 1};
  }
  return t;
}

#ifdef KATAFLEET_FUZZ
void age_reset(void) { stepped = false; }
#endif
