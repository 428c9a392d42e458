#include "dial.h"
#include <ctype.h>
#include <string.h>

enum { HEADER = 12, TYPE_A = 1, CLASS_IN = 1, RECORD = 10, NO_SUCH_NAME = 3 };

size_t dns_question(uint8_t packet[DNS_MOST], uint16_t id, const char *name) {
  size_t length = strlen(name);
  if (length > 0 && name[length - 1] == '.')
    length--;
  if (length == 0 || length > MAX_NAME)
    return 0;
  uint8_t *at = put(put(packet, id, 2), 0x0100, 2); // recursion desired
  at = put(put(at, 1, 2), 0, 6);
  for (const char *end = name + length; name < end;) {
    const char *dot = memchr(name, '.', (size_t)(end - name));
    size_t part = (size_t)((dot ? dot : end) - name);
    if (part == 0 || part > 63 || dot == end - 1)
      return 0;
    for (size_t i = 0; i < part; i++)
      if (!isalnum((unsigned char)name[i]) && name[i] != '-' && name[i] != '_')
        return 0;
    at = (uint8_t *)memcpy(put(at, part, 1), name, part) + part;
    name += part + 1;
  }
  return (size_t)(put(put(put(at, 0, 1), TYPE_A, 2), CLASS_IN, 2) - packet);
}

// Past a name, which ends with an empty part or with a pointer; pointers are not followed, so there is no going round.
static void skip_name(struct cursor *c) {
  for (;;) {
    uint64_t part = take(c, 1);
    if (c->bad || part == 0)
      return;
    if (part >= 0xc0) {
      take(c, 1);
      return;
    }
    if (part > 63 || c->end - c->at < (ptrdiff_t)part) {
      c->bad = true;
      return;
    }
    c->at += part;
  }
}

static bool echoes(const uint8_t *answer, const uint8_t *question, size_t asked) {
  for (size_t i = HEADER; i < asked; i++)
    if (tolower(answer[i]) != tolower(question[i]))
      return false;
  return true;
}

int dns_addresses(const uint8_t *answer, size_t length, const uint8_t *question, size_t asked, struct in_addr *to,
                  int room) {
  struct cursor c = {answer, answer + length, false};
  if (length < asked || memcmp(answer, question, 2))
    return -1;
  take(&c, 2);
  uint64_t flags = take(&c, 2), questions = take(&c, 2), records = take(&c, 2);
  if ((flags & 0xf800) != 0x8000 || questions != 1 || !echoes(answer, question, asked))
    return -1;
  if ((flags & 15) == NO_SUCH_NAME)
    return 0;
  if (flags & 15)
    return -2;
  c.at = answer + asked;
  int found = 0;
  bool whole = !(flags & 0x0200); // not cut off by the server
  // A record of an alias on the way is passed over; the server has put what it leads to beside it.
  while (records-- > 0 && found < room) {
    skip_name(&c);
    uint64_t type = take(&c, 2), class = take(&c, 2);
    take(&c, 4);
    uint64_t size = take(&c, 2);
    if (c.bad || c.end - c.at < (ptrdiff_t)size) {
      whole = false; // those before it hold
      break;
    }
    if (type == TYPE_A && class == CLASS_IN && size == sizeof *to)
      memcpy(&to[found++], c.at, sizeof *to);
    c.at += size;
  }
  return found > 0 || whole ? found : -2;
}
