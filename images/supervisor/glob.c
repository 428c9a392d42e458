#include "session.h"
#include <string.h>

// Which paths are to come back, as a program of the host's: docs/protocol.md, BACK. All the places that a path can be
// in are followed at once, so that no path takes more steps than its length times the program's (Thompson, 1968).
enum { MATCH, RANGE, OTHER, SPLIT, OPS };
static struct {
  uint8_t op;
  uint32_t a, b;
} program[MOST_INSTRUCTIONS];
static uint16_t places[2][MOST_INSTRUCTIONS], waiting[2 * MOST_INSTRUCTIONS + 1];
static uint32_t marks[MOST_INSTRUCTIONS], mark;
static uint32_t count;

void glob_take(const uint8_t *payload, uint32_t length) {
  struct cursor c = {payload, payload + length, false};
  uint32_t n = (uint32_t)take(&c, 2);
  if (n > MOST_INSTRUCTIONS)
    fail(F_PROTOCOL, 0, "a bad BACK", "");
  for (uint32_t i = 0; i < n; i++) {
    program[i].op = (uint8_t)take(&c, 1);
    program[i].a = (uint32_t)take(&c, 4);
    program[i].b = (uint32_t)take(&c, 4);
    bool goes_on = program[i].op == RANGE || program[i].op == OTHER;
    if (program[i].op >= OPS || (goes_on && i + 1 >= n) ||
        (program[i].op == SPLIT && (program[i].a >= n || program[i].b >= n)))
      c.bad = true;
  }
  if (c.bad || c.at != c.end)
    fail(F_PROTOCOL, 0, "a bad BACK", "");
  count = n;
}

// Adds a place and all that it leads to without a character.
static size_t reach(uint16_t *list, size_t n, uint32_t from) {
  size_t left = 0;
  waiting[left++] = (uint16_t)from;
  while (left > 0) {
    uint16_t at = waiting[--left];
    if (marks[at] == mark)
      continue;
    marks[at] = mark;
    list[n++] = at;
    if (program[at].op == SPLIT) { // each place is pushed twice at most for each that is new
      waiting[left++] = (uint16_t)program[at].a;
      waiting[left++] = (uint16_t)program[at].b;
    }
  }
  return n;
}

// The next character: UTF-8 where it is, else one byte, as the lone surrogate that the host knows it by.
static uint32_t character(const uint8_t **at) {
  const uint8_t *p = *at;
  uint32_t c = p[0];
  int more = c < 0x80 ? 0 : c >= 0xc2 && c < 0xe0 ? 1 : c >= 0xe0 && c < 0xf0 ? 2 : c >= 0xf0 && c < 0xf5 ? 3 : -1;
  uint32_t value = more == 1 ? c & 0x1f : more == 2 ? c & 0x0f : c & 0x07;
  for (int i = 1; i <= more; i++) {
    if ((p[i] & 0xc0) != 0x80) { // the path's end, a byte 0, too
      more = -1;
      break;
    }
    value = value << 6 | (p[i] & 0x3f);
  }
  static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
  if (more > 0 && (value < least[more] || value > 0x10ffff || (value >= 0xd800 && value < 0xe000)))
    more = -1;
  *at += more < 0 ? 1 : more + 1;
  return more < 0 ? 0xdc00 + c : more == 0 ? c : value;
}

bool glob_wants(const char *path) {
  if (count == 0)
    return true;
  size_t n = 0;
  int now = 0;
  if (mark > UINT32_MAX - 2 * MAX_PATH_BYTES) {
    memset(marks, 0, sizeof marks);
    mark = 0;
  }
  mark++;
  n = reach(places[0], 0, 0);
  for (const uint8_t *at = (const uint8_t *)path; *at && n > 0; now = !now) {
    uint32_t c = character(&at);
    size_t next = 0;
    mark++;
    for (size_t i = 0; i < n; i++) {
      uint16_t place = places[now][i];
      uint8_t op = program[place].op;
      bool in = c >= program[place].a && c <= program[place].b;
      if ((op == RANGE && in) || (op == OTHER && !in))
        next = reach(places[!now], next, place + 1u);
    }
    n = next;
  }
  for (size_t i = 0; i < n; i++)
    if (program[places[now][i]].op == MATCH)
      return true;
  return false;
}

#ifdef KATAFLEET_FUZZ
void glob_reset(void) { count = 0; }
#endif
