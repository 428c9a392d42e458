// The stream as a connection that the supervisor makes to the host: tried again until it holds.
#include "dial.h"
#include "session.h"
#include <arpa/inet.h>
#include <errno.h>
#include <linux/capability.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define MOST_TARGETS 16
#define MOST_OF_NAME 16
#define CONNECT_NS (3 * NS)
#define FIRST_CONNECT_NS (NS / 5)
#define HANDSHAKE_NS (5 * NS)
#define PAUSE_MS 100u
#define LONGEST_PAUSE_MS 5000u

union address {
  struct sockaddr any;
  struct sockaddr_in four;
  struct sockaddr_in6 six;
};
static struct target {
  const char *name; // NULL where `address` is all there is to know
  union address address;
} targets[MOST_TARGETS];
static int target_count;
static union address candidates[MOST_TARGETS * MOST_OF_NAME];
static int signals = -1;
static uint64_t lifetime;
static uint32_t pause_ms;
static bool opened;

static bool add(char *word) {
  struct target *t = &targets[target_count];
  char *colon = strrchr(word, ':'), *end = "";
  unsigned long port = colon && colon[1] >= '0' && colon[1] <= '9' ? strtoul(colon + 1, &end, 10) : 0;
  if (target_count == MOST_TARGETS || port == 0 || port > 65535 || *end)
    return false;
  *colon = 0;
  *t = (struct target){.address.four = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)}};
  uint8_t question[DNS_MOST];
  if (*word == '[' && colon[-1] == ']') {
    colon[-1] = 0;
    t->address.six = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    if (inet_pton(AF_INET6, word + 1, &t->address.six.sin6_addr) != 1)
      return false;
  } else if (inet_pton(AF_INET, word, &t->address.four.sin_addr) != 1) {
    if (!dns_question(question, 0, word))
      return false;
    t->name = word;
  }
  target_count++;
  return true;
}

bool dial_to(char *list) {
  char *rest;
  for (char *word = strtok_r(list, ",", &rest); word; word = strtok_r(NULL, ",", &rest))
    if (!add(word))
      return false;
  return target_count > 0;
}

bool dial_wanted(void) { return target_count > 0; }

bool dial_again(void) { return dial_wanted() && !opened; }

bool dial_wait(int fd, short events, uint64_t until) {
  for (;;) {
    uint64_t ends = session_ends(lifetime), t = now();
    if (ends && t >= ends)
      finish(0);
    if (t >= until)
      return false;
    uint64_t left = ((ends && ends < until ? ends : until) - t) / 1000000;
    struct pollfd f[2] = {{.fd = fd, .events = events}, {.fd = signals, .events = POLLIN}};
    int ready = poll(f, 2, left > 60000 ? 60000 : (int)left + 1);
    struct signalfd_siginfo info;
    while (read(signals, &info, sizeof info) == sizeof info)
      if (info.ssi_signo != SIGCHLD)
        finish(0);
    if (ready > 0 && f[0].revents)
      return true;
  }
}

// All that the command line's addresses stand for now, in random order, so that several hosts share the load.
static int gather(void) {
  int count = 0;
  for (int i = 0; i < target_count; i++) {
    const struct target *t = &targets[i];
    struct in_addr found[MOST_OF_NAME];
    int n = t->name ? resolve(t->name, found, MOST_OF_NAME) : 1;
    for (int j = 0; j < n; j++, count++) {
      candidates[count] = t->address;
      if (t->name)
        candidates[count].four.sin_addr = found[j];
    }
  }
  for (int i = count - 1; i > 0; i--) {
    uint32_t j = random_below((uint32_t)i + 1);
    union address other = candidates[j];
    candidates[j] = candidates[i];
    candidates[i] = other;
  }
  return count;
}

// What the kernel can find out about a silent network; heartbeat.c looks after the rest.
static void set_options(int fd) {
  const struct {
    int level, option, value;
  } options_of[] = {{IPPROTO_TCP, TCP_NODELAY, 1},
                    {SOL_SOCKET, SO_KEEPALIVE, 1},
                    {IPPROTO_TCP, TCP_KEEPIDLE, 1},
                    {IPPROTO_TCP, TCP_KEEPINTVL, 1},
                    {IPPROTO_TCP, TCP_KEEPCNT, 3}};
  for (size_t i = 0; i < sizeof options_of / sizeof *options_of; i++)
    setsockopt(fd, options_of[i].level, options_of[i].option, &options_of[i].value, sizeof(int));
}

// 0, or an errno: ETIMEDOUT when there is no answer by then.
static int try_connect(const union address *to, int *fd, uint64_t until) {
  *fd = socket(to->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (*fd < 0)
    return errno;
  set_options(*fd);
  if (connect(*fd, &to->any, to->any.sa_family == AF_INET ? sizeof to->four : sizeof to->six) == 0)
    return 0;
  if (errno != EINPROGRESS)
    return errno;
  if (!dial_wait(*fd, POLLOUT, until))
    return ETIMEDOUT;
  int error = 0;
  socklen_t size = sizeof error;
  return getsockopt(*fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0 ? errno : error;
}

// An overlay that has just been joined loses the first packet now and then, which the kernel sends again after a
// second.
static const char *reach(const union address *to, int *fd, uint32_t *heartbeat_ms) {
  uint64_t ends = now() + CONNECT_NS;
  for (uint64_t patience = FIRST_CONNECT_NS;; patience *= 2) {
    uint64_t t = now(), until = t + patience < ends ? t + patience : ends;
    int error = try_connect(to, fd, until);
    if (error == 0)
      return handshake(*fd, now() + HANDSHAKE_NS, heartbeat_ms);
    if (error != ETIMEDOUT || until == ends)
      return strerror(error);
    close(*fd);
  }
}

// Each reason once, so that the task's log tells why nobody works with it and does not grow. All are constants.
static void tell(const char *reason) {
  static const char *told[16];
  for (size_t i = 0; i < sizeof told / sizeof *told; i++) {
    if (told[i] && !strcmp(told[i], reason))
      return;
    if (told[i])
      continue;
    told[i] = reason;
    fprintf(stderr, "supervisor: no connection to katafleet: %s\n", reason);
    return;
  }
}

bool dial_begin(const char *secret, int signal_fd, uint64_t lifetime_ns) {
  signals = signal_fd;
  lifetime = lifetime_ns;
  session_ends(lifetime); // its clock runs from here
  if (!handshake_names()) {
    fputs("supervisor: the names in KATAFLEET_SERVICE, _SECRET, _TASK and _NODE are too long\n", stderr);
    return false;
  }
  return handshake_secret(secret);
}

void dial_home(void) {
  if (stream_in >= 0)
    close(stream_in);
  heartbeat_end();
  for (;;) {
    if (pause_ms)
      dial_wait(-1, 0, now() + (pause_ms / 2 + random_below(pause_ms + 1)) * 1000000ull);
    pause_ms = pause_ms == 0 ? PAUSE_MS : pause_ms * 2 > LONGEST_PAUSE_MS ? LONGEST_PAUSE_MS : pause_ms * 2;
    int count = gather();
    if (count == 0)
      tell("the name has no address");
    for (int i = 0; i < count; i++) {
      int fd;
      uint32_t heartbeat_ms;
      const char *wrong = reach(&candidates[i], &fd, &heartbeat_ms);
      if (!wrong) {
        pause_ms = PAUSE_MS;
        stream_init(fd, fd);
        heartbeat_begin(heartbeat_ms);
        return;
      }
      tell(wrong);
      if (fd >= 0)
        close(fd);
    }
  }
}

void dial_prepare(void) {
  if (handshake_bare())
    fail(F_SUPERVISOR, 0, "the secret's file is open to others than root", "");
  if (!options.keeps_network)
    network_prepare();
}

void dial_opened(void) {
  if (!dial_wanted())
    return;
  opened = true;
  handshake_forget();
  if (!options.keeps_network)
    network_leave();
  capability_drop(CAP_SYS_ADMIN);
  capability_drop(CAP_NET_ADMIN);
}
