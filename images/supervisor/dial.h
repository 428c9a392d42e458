// What the files of the dial-home carrier share: main.c knows only what supervisor.h has of it.
#pragma once
#include "supervisor.h"
#include <netinet/in.h>

#define MAX_NAME 253u
#define NONCE 32u
#define DIGEST 32u

// ---- sha256.c: FIPS 180-4 and RFC 2104.
struct sha256 {
  uint32_t state[8];
  uint64_t length;
  uint8_t block[64];
};
void sha256_begin(struct sha256 *s);
void sha256_add(struct sha256 *s, const void *bytes, size_t length);
void sha256_end(struct sha256 *s, uint8_t digest[DIGEST]);
struct hmac {
  struct sha256 inner, outer;
};
void hmac_begin(struct hmac *h, const uint8_t *key, size_t length);
void hmac_add(struct hmac *h, const void *bytes, size_t length);
void hmac_end(struct hmac *h, uint8_t digest[DIGEST]);

// ---- random.c: from the kernel; ends the supervisor where it has none to give.
void random_bytes(void *to, size_t length);
// Evenly from 0 to below - 1.
uint32_t random_below(uint32_t below);

// ---- dial.c
// Waits until a descriptor is ready for `events` (-1: for none, a pause), or the time is over: false. A signal that
// ends the supervisor, or the end of its lifetime, ends it here.
bool dial_wait(int fd, short events, uint64_t until);

// ---- handshake.c
// Keeps the secret of this file; says on stderr what is wrong with it, and false.
bool handshake_secret(const char *file);
// The names that tell the host who dials, as the environment has them; false where they are too long.
bool handshake_names(void);
// Whether others than root can read the secret's file.
bool handshake_bare(void);
// Wipes the secret: it is not needed again.
void handshake_forget(void);
// Proves to each other that both know the secret, by `until`. NULL, with the host's heartbeat in ms, or what went
// wrong.
const char *handshake(int fd, uint64_t until, uint32_t *heartbeat);
// The bare computations. An ANSWER's payload to a CHALLENGE's, its length, 0 if it is none; and whether a WELCOME's
// fits both.
size_t handshake_answer(uint8_t *answer, const uint8_t *challenge, size_t length, const uint8_t nonce[NONCE]);
bool handshake_welcome(const uint8_t *welcome, size_t length, const uint8_t *challenge, const uint8_t *answer,
                       size_t answered);

// ---- dns.c: RFC 1035, as much as it takes to ask for A records.
#define DNS_MOST 512u // bytes of a datagram without extensions
// A question for a name of at most MAX_NAME bytes; its length, 0 where the name can't be asked for.
size_t dns_question(uint8_t packet[DNS_MOST], uint16_t id, const char *name);
// How many addresses an answer to this question holds, as many as there is room for; -1: it is no answer to it, and
// another may follow; -2: the server could not tell.
int dns_addresses(const uint8_t *answer, size_t length, const uint8_t *question, size_t asked, struct in_addr *to,
                  int room);

// ---- resolve.c
// IPv4 addresses of a name: those in /etc/hosts, else what the nameservers in /etc/resolv.conf say.
int resolve(const char *name, struct in_addr *to, int room);
