#include "session.h"
#include <errno.h>
#include <string.h>
#include <unistd.h>

static bool opened;
static uint64_t ends, born;

bool session_opened(void) { return opened; }

uint64_t session_ends(uint64_t idle) {
  if (!born)
    born = now();
  return opened ? ends : idle ? born + idle : 0;
}

static void open_session(const uint8_t *payload, uint32_t length) {
  struct cursor c = {payload, payload + length, false};
  uint16_t version = (uint16_t)take(&c, 2);
  options.uid = (uint32_t)take(&c, 4);
  options.gid = (uint32_t)take(&c, 4);
  uint64_t lifetime = take(&c, 4);
  options.files_back = (uint32_t)take(&c, 4);
  options.file_back = take(&c, 8);
  options.bytes_back = take(&c, 8);
  if (!c.bad && version != PROTOCOL)
    fail(F_VERSION, 0, "a version that is not spoken", "");
  if (c.bad || c.at != c.end || opened || !options.uid || !options.gid)
    fail(F_PROTOCOL, 0, "a bad OPEN", "");
  opened = true;
  ends = now() + lifetime * 1000000;
  if (fchown(options.root, options.uid, options.gid) < 0)
    fail(F_SUPERVISOR, errno, "the sandbox folder can't be given to the user", options.sandbox);
  if (dial_wanted())
    etc_cover(false);
  etc_user();
  dial_opened();
  if (options.pid1 && !dial_wanted())
    network_split();
}

static void handle(uint8_t type, const uint8_t *payload, uint32_t length) {
  if (type == PING && length <= 64) {
    out_frame(PONG, payload, length);
    return;
  }
  if (type == CLOSE && length == 0 && !step_running())
    finish(0);
  if (type == OPEN) {
    open_session(payload, length);
    return;
  }
  if (!opened)
    fail(F_PROTOCOL, 0, "a frame before OPEN", "");
  if (type == KILL && length == 0) {
    step_kill();
    return;
  }
  if (step_running())
    fail(F_PROTOCOL, 0, "a frame while a step runs", "");
  if ((type >= FILE_IN && type <= STDIN_IN) || receive_in_file())
    receive(type, payload, length);
  else if (type == EXEC)
    step_exec(payload, length);
  else if (type == BACK)
    glob_take(payload, length);
  else if ((type == COLLECT || type == BASELINE || type == LIST) && length == 0)
    collect((enum frame)type);
  else
    fail(F_PROTOCOL, 0, "an unknown frame", "");
}

void session_frames(void) {
  uint8_t type;
  uint32_t length;
  for (const uint8_t *payload; out_room(MAX_PAYLOAD) && (payload = in_frame(&type, &length));)
    handle(type, payload, length);
}

void session_input_ended(void) {
  session_frames(); // a CLOSE, or a last break of the rules, may still be unread
  stream_lose();
}

#ifdef KATAFLEET_FUZZ
void session_reset(void) {
  opened = false;
  ends = born = 0;
}
#endif
