#include "dial.h"
#include <string.h>

static const uint32_t constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static uint32_t turn(uint32_t word, int by) { return word >> by | word << (32 - by); }

static void block(uint32_t state[8], const uint8_t *bytes) {
  uint32_t w[64], v[8];
  struct cursor c = {bytes, bytes + 64, false};
  for (int i = 0; i < 16; i++)
    w[i] = (uint32_t)take(&c, 4);
  for (int i = 16; i < 64; i++) {
    uint32_t a = w[i - 15], b = w[i - 2];
    w[i] = w[i - 16] + (turn(a, 7) ^ turn(a, 18) ^ a >> 3) + w[i - 7] + (turn(b, 17) ^ turn(b, 19) ^ b >> 10);
  }
  memcpy(v, state, sizeof v);
  for (int i = 0; i < 64; i++) {
    uint32_t one = v[7] + (turn(v[4], 6) ^ turn(v[4], 11) ^ turn(v[4], 25)) + ((v[4] & v[5]) ^ (~v[4] & v[6])) +
                   constants[i] + w[i];
    uint32_t two = (turn(v[0], 2) ^ turn(v[0], 13) ^ turn(v[0], 22)) + ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));
    memmove(v + 1, v, 7 * sizeof *v);
    v[4] += one;
    v[0] = one + two;
  }
  for (int i = 0; i < 8; i++)
    state[i] += v[i];
}

void sha256_begin(struct sha256 *s) {
  *s = (struct sha256){
      .state = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19}};
}

void sha256_add(struct sha256 *s, const void *bytes, size_t length) {
  const uint8_t *at = bytes;
  while (length > 0) {
    size_t held = s->length % sizeof s->block, some = sizeof s->block - held;
    if (some > length)
      some = length;
    memcpy(s->block + held, at, some);
    s->length += some;
    at += some;
    length -= some;
    if (s->length % sizeof s->block == 0)
      block(s->state, s->block);
  }
}

void sha256_end(struct sha256 *s, uint8_t digest[DIGEST]) {
  static const uint8_t padding[64] = {0x80};
  uint8_t bits[8];
  put(bits, s->length * 8, 8);
  sha256_add(s, padding, 1 + (119 - s->length % 64) % 64);
  sha256_add(s, bits, 8);
  for (int i = 0; i < 8; i++)
    put(digest + 4 * i, s->state[i], 4);
}

void hmac_begin(struct hmac *h, const uint8_t *key, size_t length) {
  uint8_t inner[64], outer[64], hashed[DIGEST];
  sha256_begin(&h->inner);
  sha256_begin(&h->outer);
  if (length > sizeof inner) {
    sha256_add(&h->inner, key, length);
    sha256_end(&h->inner, hashed);
    sha256_begin(&h->inner);
    key = hashed;
    length = sizeof hashed;
  }
  for (size_t i = 0; i < sizeof inner; i++) {
    uint8_t byte = i < length ? key[i] : 0;
    inner[i] = byte ^ 0x36;
    outer[i] = byte ^ 0x5c;
  }
  sha256_add(&h->inner, inner, sizeof inner);
  sha256_add(&h->outer, outer, sizeof outer);
  explicit_bzero(inner, sizeof inner);
  explicit_bzero(outer, sizeof outer);
  explicit_bzero(hashed, sizeof hashed);
}

void hmac_add(struct hmac *h, const void *bytes, size_t length) { sha256_add(&h->inner, bytes, length); }

void hmac_end(struct hmac *h, uint8_t digest[DIGEST]) {
  sha256_end(&h->inner, digest);
  sha256_add(&h->outer, digest, DIGEST);
  sha256_end(&h->outer, digest);
  explicit_bzero(h, sizeof *h);
}
