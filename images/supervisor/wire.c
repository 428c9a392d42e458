#include "supervisor.h"
#include <string.h>

uint64_t take(struct cursor *c, int bytes) {
  if (c->bad || c->end - c->at < bytes) {
    c->bad = true;
    return 0;
  }
  uint64_t value = 0;
  while (bytes-- > 0)
    value = value << 8 | *c->at++;
  return value;
}

const char *take_str(struct cursor *c, uint16_t *length) {
  *length = (uint16_t)take(c, 2);
  if (c->bad || c->end - c->at < *length || memchr(c->at, 0, *length)) {
    c->bad = true;
    *length = 0;
    return "";
  }
  const char *text = (const char *)c->at;
  c->at += *length;
  return text;
}

uint8_t *put(uint8_t *at, uint64_t value, int bytes) {
  for (int i = bytes - 1; i >= 0; i--, value >>= 8)
    at[i] = (uint8_t)value;
  return at + bytes;
}

bool path_ok(const char *path, size_t length) {
  if (length == 0 || length > MAX_PATH_BYTES)
    return false;
  int parts = 0;
  for (size_t start = 0; start <= length; parts++) {
    const char *slash = memchr(path + start, '/', length - start);
    size_t part = (slash ? (size_t)(slash - path) : length) - start;
    const char *p = path + start;
    if (part == 0 || part > MAX_PART || (p[0] == '.' && (part == 1 || (part == 2 && p[1] == '.'))))
      return false;
    start += part + 1;
  }
  return parts <= MAX_PARTS;
}
