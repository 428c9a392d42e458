// How the host and a supervisor that dialled it prove to each other that they know the service's secret, which itself
// never travels. Reads not one byte beyond the host's last word: what follows is the stream's.
#include "dial.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#define DIAL_VERSION 2
#define MOST 1024u // bytes of a payload before WELCOME
#define MAGIC 0x4b415441

enum { C_LENGTH = 4 + 2 + 2 + NONCE, C_NONCE = 8, W_LENGTH = DIGEST + 4 };

static uint8_t key[4096];
static size_t key_length;
static bool bare;
static const char *secret_file;
static struct name {
  const char *variable, *value;
} names[] = {{"KATAFLEET_SERVICE", ""}, {"KATAFLEET_SECRET", ""}, {"KATAFLEET_TASK", ""}, {"KATAFLEET_NODE", ""}};
#define NAMES (sizeof names / sizeof *names)

bool handshake_secret(const char *file) {
  uint8_t more;
  struct stat st;
  int fd = open(file, O_RDONLY | O_CLOEXEC);
  ssize_t n = fd < 0 || fstat(fd, &st) < 0 ? -1 : read(fd, key, sizeof key);
  if (n <= 0 || read(fd, &more, 1) != 0) {
    fprintf(stderr, "supervisor: the secret %s: %s\n", file, n < 0 ? strerror(errno) : n ? "too long" : "empty");
    return false;
  }
  close(fd);
  secret_file = file;
  key_length = (size_t)n;
  bare = (st.st_mode & 077) || st.st_uid != geteuid();
  return true;
}

bool handshake_names(void) {
  size_t length = 4 + 2 + NONCE + DIGEST;
  for (size_t i = 0; i < NAMES; i++) {
    const char *value = getenv(names[i].variable);
    names[i].value = value ? value : "";
    length += 2 + strlen(names[i].value);
  }
  return length <= MOST;
}

bool handshake_bare(void) { return bare; }

void handshake_forget(void) {
  explicit_bzero(key, sizeof key);
  key_length = 0;
  if (options.pid1) // where AppArmor denies even that, root alone can read it there
    umount2(secret_file, MNT_DETACH);
}

// A host that does not offer the highest version that is spoken here may never have said so: somebody between could
// have changed its words. The nonce's end, which the proof of every version vouches for, tells it what it would have
// got.
static void put_sentinel(uint8_t *nonce) { put(put(nonce + NONCE - 8, MAGIC, 4), DIAL_VERSION, 4); }

// What both proofs begin with. A version's label has a byte 0 behind it, which counts.
static void prove(struct hmac *h, uint64_t version, bool task) {
  char label[32];
  hmac_begin(h, key, key_length);
  hmac_add(h, label,
           (size_t)snprintf(label, sizeof label, "katafleet dial %u %s", (unsigned)version, task ? "task" : "host") +
               1);
}

size_t handshake_answer(uint8_t *answer, const uint8_t *challenge, size_t length, const uint8_t nonce[NONCE]) {
  struct cursor c = {challenge, challenge + length, false};
  bool kata = take(&c, 4) == MAGIC;
  uint64_t lowest = take(&c, 2), highest = take(&c, 2), version = highest < DIAL_VERSION ? highest : DIAL_VERSION;
  if (length != C_LENGTH || !kata || lowest > version || version < 1)
    return 0;
  uint8_t *at = put(put(answer, MAGIC, 4), version, 2);
  at = (uint8_t *)memcpy(at, nonce, NONCE) + NONCE;
  if (version < DIAL_VERSION)
    put_sentinel(at - NONCE);
  for (size_t i = 0; i < NAMES; i++) {
    size_t n = strlen(names[i].value);
    at = (uint8_t *)memcpy(put(at, n, 2), names[i].value, n) + n;
  }
  struct hmac h;
  prove(&h, version, true);
  version > 1 ? hmac_add(&h, challenge, C_LENGTH) : hmac_add(&h, challenge + C_NONCE, NONCE);
  hmac_add(&h, answer, (size_t)(at - answer));
  hmac_end(&h, at);
  return (size_t)(at - answer) + DIGEST;
}

bool handshake_welcome(const uint8_t *welcome, size_t length, const uint8_t *challenge, const uint8_t *answer,
                       size_t answered) {
  if (length != W_LENGTH)
    return false;
  uint8_t mac[DIGEST], different = 0;
  struct cursor c = {answer + 4, answer + answered, false};
  uint64_t version = take(&c, 2);
  struct hmac h;
  prove(&h, version, false);
  if (version > 1) {
    hmac_add(&h, challenge, C_LENGTH);
    hmac_add(&h, answer, answered);
  } else {
    hmac_add(&h, c.at, NONCE);
    hmac_add(&h, challenge + C_NONCE, NONCE);
  }
  hmac_add(&h, welcome + DIGEST, 4);
  hmac_end(&h, mac);
  for (size_t i = 0; i < DIGEST; i++) // all of it, so that the time tells nothing
    different |= mac[i] ^ welcome[i];
  return !different;
}

static bool read_all(int fd, uint64_t until, uint8_t *to, size_t length) {
  while (length > 0) {
    ssize_t n = read(fd, to, length);
    if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN))
      return false;
    if (n < 0 && !dial_wait(fd, POLLIN, until))
      return false;
    if (n > 0) {
      to += n;
      length -= (size_t)n;
    }
  }
  return true;
}

// The next frame; its payload's length, -1 where none came in time or it breaks a rule.
static ssize_t frame(int fd, uint64_t until, uint8_t *type, uint8_t payload[MOST]) {
  uint8_t header[5];
  if (!read_all(fd, until, header, sizeof header))
    return -1;
  struct cursor c = {header, header + sizeof header, false};
  *type = (uint8_t)take(&c, 1);
  uint64_t length = take(&c, 4);
  return length <= MOST && read_all(fd, until, payload, (size_t)length) ? (ssize_t)length : -1;
}

// Why nothing came of it. A stranger's words are not repeated.
static const char *refusal(ssize_t length, uint8_t type, const uint8_t *payload) {
  static const char *const reasons[] = {"refused", "the service is unknown there", "the secret is not the service's",
                                        "busy", "the service is unknown there, or the secret is not its own"};
  if (length < 0)
    return "the connection ended, or stayed silent, in the middle of the handshake";
  if (type == REFUSED)
    return reasons[length > 0 && payload[0] < sizeof reasons / sizeof *reasons ? payload[0] : 0];
  return "whoever listens there is no katafleet that this supervisor knows";
}

const char *handshake(int fd, uint64_t until, uint32_t *heartbeat) {
  uint8_t challenge[MOST], welcome[MOST], nonce[NONCE], answer[5 + MOST], type;
  ssize_t length = frame(fd, until, &type, challenge);
  random_bytes(nonce, sizeof nonce);
  size_t answered =
      length >= 0 && type == CHALLENGE ? handshake_answer(answer + 5, challenge, (size_t)length, nonce) : 0;
  if (answered == 0)
    return refusal(length, type, challenge);
  put(put(answer, ANSWER, 1), answered, 4);
  // A connection that has sent nothing yet takes this much at once.
  if (send(fd, answer, 5 + answered, MSG_NOSIGNAL) != (ssize_t)(5 + answered))
    return "the connection broke in the middle of the handshake";
  length = frame(fd, until, &type, welcome);
  if (length < 0 || type != WELCOME)
    return refusal(length, type, welcome);
  if (!handshake_welcome(welcome, (size_t)length, challenge, answer + 5, answered))
    return "whoever listens there does not know the secret";
  struct cursor c = {welcome + DIGEST, welcome + W_LENGTH, false};
  *heartbeat = (uint32_t)take(&c, 4);
  return NULL;
}
