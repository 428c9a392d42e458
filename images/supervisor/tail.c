#include "supervisor.h"
#include <string.h>

// Of what is cut from a stream, the end is kept in a ring of fixed size, to be sent when the step is over.
static struct {
  char bytes[MOST_TAIL];
  size_t most, filled, next;
} rings[2];

void tail_begin(uint32_t most_stdout, uint32_t most_stderr) {
  rings[0].most = most_stdout;
  rings[1].most = most_stderr;
  for (int i = 0; i < 2; i++)
    rings[i].filled = rings[i].next = 0;
}

void tail_add(int stream, const char *bytes, size_t length) {
  size_t most = rings[stream].most;
  if (length > most) {
    bytes += length - most;
    length = most;
  }
  while (length > 0) {
    size_t room = most - rings[stream].next, n = length < room ? length : room;
    memcpy(rings[stream].bytes + rings[stream].next, bytes, n);
    rings[stream].next = (rings[stream].next + n) % most;
    rings[stream].filled = rings[stream].filled + n < most ? rings[stream].filled + n : most;
    bytes += n;
    length -= n;
  }
}

void tail_send(void) {
  static uint8_t frame[1 + MOST_TAIL / 2];
  for (int i = 0; i < 2; i++) {
    size_t at = rings[i].filled < rings[i].most ? 0 : rings[i].next;
    for (size_t left = rings[i].filled; left > 0;) {
      size_t n = rings[i].most - at; // up to the ring's end, or the frame's
      n = n < left ? n : left;
      n = n < sizeof frame - 1 ? n : sizeof frame - 1;
      frame[0] = (uint8_t)(i + 1);
      memcpy(frame + 1, rings[i].bytes + at, n);
      out_wait_frame(TAIL, frame, n + 1);
      at = (at + n) % rings[i].most;
      left -= n;
    }
    rings[i].filled = rings[i].next = 0;
  }
}
