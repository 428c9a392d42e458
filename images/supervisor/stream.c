#include "supervisor.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#define OUT_BYTES (256u * 1024)
#define IN_BYTES (MAX_PAYLOAD + 5)

int stream_in = -1, stream_out = -1;
static uint8_t out[OUT_BYTES], in[IN_BYTES];
static size_t out_from, out_to, in_from, in_to;
static bool ended, lost;

void stream_init(int in_fd, int out_fd) {
  in_from = in_to = out_from = out_to = 0;
  ended = lost = false;
  stream_in = in_fd;
  stream_out = out_fd;
  fcntl(in_fd, F_SETFL, fcntl(in_fd, F_GETFL) | O_NONBLOCK);
  fcntl(out_fd, F_SETFL, fcntl(out_fd, F_GETFL) | O_NONBLOCK);
}

void stream_lose(void) {
  if (!dial_again())
    finish(0);
  ended = lost = true;
  in_from = in_to = out_from = out_to = 0;
}

bool stream_lost(void) { return lost; }

bool out_pending(void) { return out_from < out_to; }

bool out_room(size_t length) { return OUT_BYTES - (out_to - out_from) >= length + 5; }

void out_frame(enum frame type, const void *payload, size_t length) {
  if (OUT_BYTES - out_to < length + 5) {
    memmove(out, out + out_from, out_to - out_from);
    out_to -= out_from;
    out_from = 0;
  }
  out[out_to] = (uint8_t)type;
  put(out + out_to + 1, length, 4);
  if (length > 0)
    memcpy(out + out_to + 5, payload, length);
  out_to += length + 5;
}

void out_flush(void) {
  while (out_pending()) {
    ssize_t n = write(stream_out, out + out_from, out_to - out_from);
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0 && errno == EAGAIN)
      return;
    if (n < 0) { // nobody reads any more: the host is gone
      stream_lose();
      return;
    }
    out_from += (size_t)n;
  }
  out_from = out_to = 0;
}

void out_wait_frame(enum frame type, const void *payload, size_t length) {
  while (!out_room(length)) {
    out_flush();
    if (out_room(length))
      break;
    struct pollfd fds[2] = {{.fd = stream_out, .events = POLLOUT},
                            {.fd = in_has_room() ? stream_in : -1, .events = POLLIN}};
    if (poll(fds, 2, 1000) > 0 && fds[1].revents && !in_fill())
      finish(0);
    heartbeat();
  }
  out_frame(type, payload, length);
}

bool in_has_room(void) { return !ended && (in_to < IN_BYTES || in_from > 0); }

bool in_fill(void) {
  if (in_from > 0) {
    memmove(in, in + in_from, in_to - in_from);
    in_to -= in_from;
    in_from = 0;
  }
  if (in_to == IN_BYTES)
    return true;
  ssize_t n = read(stream_in, in + in_to, IN_BYTES - in_to);
  if (n < 0 && (errno == EINTR || errno == EAGAIN))
    return true;
  if (n <= 0) {
    ended = true;
    return false;
  }
  in_to += (size_t)n;
  return true;
}

const uint8_t *in_frame(uint8_t *type, uint32_t *length) {
  if (in_to - in_from < 5)
    return NULL;
  struct cursor c = {in + in_from, in + in_to, false};
  *type = (uint8_t)take(&c, 1);
  *length = (uint32_t)take(&c, 4);
  if (*length > MAX_PAYLOAD)
    fail(F_PROTOCOL, 0, "a frame that is too long", "");
  if ((size_t)(c.end - c.at) < *length)
    return NULL;
  in_from += 5 + *length;
  return c.at;
}
