// Signs of life for a host that can tell a lost machine from a slow one by nothing else, and a look at the host's.
#include "supervisor.h"
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#define LOOK_NS NS
#define LOST_MS 5000u
#define LOST_TRIES 2

static uint64_t every, next, next_look;

void heartbeat_begin(uint32_t ms) {
  every = ms * 1000000ull;
  next = now() + every;
  next_look = now() + LOOK_NS;
}

void heartbeat_end(void) { next_look = 0; }

// TCP_USER_TIMEOUT would do, but since Linux 5.11 it also ends connections whose other side is well and doesn't read.
static bool host_lost(void) {
  struct tcp_info info;
  socklen_t size = sizeof info;
  if (getsockopt(stream_out, IPPROTO_TCP, TCP_INFO, &info, &size) < 0)
    return false;
  return info.tcpi_last_ack_recv >= LOST_MS && info.tcpi_retransmits + info.tcpi_probes >= LOST_TRIES;
}

void heartbeat(void) {
  if (!next_look)
    return;
  uint64_t t = now();
  if (t >= next_look) {
    next_look = t + LOOK_NS;
    if (host_lost()) {
      stream_lose();
      return;
    }
  }
  if (!every || t < next)
    return;
  next = t + every;
  if (!out_pending())
    out_frame(ALIVE, NULL, 0);
  out_flush(); // what waited there tells the same
}

int heartbeat_timeout(void) {
  if (!next_look)
    return -1;
  uint64_t t = now(), soonest = every && next < next_look ? next : next_look;
  return t >= soonest ? 0 : (int)((soonest - t) / 1000000) + 1;
}
