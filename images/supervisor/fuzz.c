// libFuzzer's way in: any bytes as the host's side of a conversation, through the real reader, parser and file writer,
// in a folder of its own. EXEC is parsed but starts nothing: spawn is replaced.
#include "session.h"
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct options options;
static jmp_buf out_of_it;
static int dev_null;
static char folder[] = "/tmp/katafleet-fuzz-XXXXXX";

uint64_t now(void) {
  static uint64_t t;
  return t += 1000;
}
_Noreturn void finish(int code) { longjmp(out_of_it, code + 1); }
_Noreturn void fail(enum fail reason, int error, const char *message, const char *path) {
  if (strlen(message) > 256 || strlen(path) > MAX_PATH_BYTES)
    abort();
  (void)error;
  longjmp(out_of_it, (int)reason + 1);
}

pid_t spawn(const struct step *s, int input, int output[2], const char **failed) {
  size_t length = 0;
  for (char **v = s->argv; *v; v++)
    length += strlen(*v);
  for (char **v = s->env; *v; v++)
    length += strlen(*v);
  if (input >= 0)
    close(input);
  output[0] = output[1] = -1;
  *failed = "exec";
  errno = length % 2 ? ENOENT : EACCES;
  return -1;
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
  (void)argc, (void)argv;
  if (!mkdtemp(folder))
    abort();
  dev_null = open("/dev/null", O_WRONLY);
  return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
  options = (struct options){.sandbox = folder, .root = open(folder, O_RDONLY | O_DIRECTORY)};
  int in = memfd_create("in", MFD_CLOEXEC);
  if (in < 0 || options.root < 0 || write(in, bytes, size) != (ssize_t)size)
    abort();
  lseek(in, 0, SEEK_SET);
  if (setjmp(out_of_it) == 0) {
    session_reset();
    stream_init(in, dev_null);
    while (in_fill()) {
      session_frames();
      out_flush();
    }
    session_frames();
  }
  receive_reset();
  tree_remove(AT_FDCWD, folder, 0);
  mkdir(folder, 0755);
  close(options.root);
  close(in);
  return 0;
}
