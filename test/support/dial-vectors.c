// What the supervisor's own code computes, asked by the tests. First argument: `hmac` (the key in hex, a message on
// stdin), `sha256` (a message on stdin), or `dial` (the key's file): a CHALLENGE's payload and 32 bytes of nonce on
// stdin, the payload of the ANSWER to it in hex; then, with a WELCOME's payload behind them, whether it is the right
// one.
#include "../../images/supervisor/dial.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct options options;
uint64_t now(void) { return 0; }
bool dial_wait(int fd, short events, uint64_t until) {
  (void)fd, (void)events, (void)until;
  return false;
}

static void print(const uint8_t *bytes, size_t length) {
  for (size_t i = 0; i < length; i++)
    printf("%02x", bytes[i]);
  putchar('\n');
}

int main(int argc, char **argv) {
  static uint8_t input[1 << 20], key[8192], digest[DIGEST], answer[1024];
  size_t length = fread(input, 1, sizeof input, stdin), half = length / 2;
  if (argc < 2)
    return 64;
  if (!strcmp(argv[1], "sha256")) {
    struct sha256 s;
    sha256_begin(&s);
    sha256_add(&s, input, half); // in two pieces, as it is used
    sha256_add(&s, input + half, length - half);
    sha256_end(&s, digest);
    print(digest, DIGEST);
  } else if (!strcmp(argv[1], "hmac") && argc == 3) {
    size_t bytes = strlen(argv[2]) / 2;
    for (size_t i = 0; i < bytes && i < sizeof key; i++)
      key[i] = (uint8_t)strtoul((char[]){argv[2][2 * i], argv[2][2 * i + 1], 0}, NULL, 16);
    struct hmac h;
    hmac_begin(&h, key, bytes);
    hmac_add(&h, input, half);
    hmac_add(&h, input + half, length - half);
    hmac_end(&h, digest);
    print(digest, DIGEST);
  } else if (!strcmp(argv[1], "dial") && argc == 3 && length >= 40 + NONCE) {
    if (!handshake_names() || !handshake_secret(argv[2]))
      return 1;
    size_t answered = handshake_answer(answer, input, 40, input + 40);
    print(answer, answered);
    puts(handshake_welcome(input + 72, length - 72, input, answer, answered) ? "welcome" : "stranger");
  } else {
    return 64;
  }
  return 0;
}
