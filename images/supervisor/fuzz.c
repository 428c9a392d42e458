// libFuzzer's way in: any bytes as the host's side of a conversation, through the real reader, parser and file writer,
// in a folder of its own. EXEC is parsed but starts nothing: spawn is replaced. A first byte that no conversation
// begins with leads elsewhere: H to the host's side of a dial handshake, D to a nameserver's answer.
#include "dial.h"
#include "session.h"
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
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

static void remove_folder(void) { tree_remove(AT_FDCWD, folder, 0); }

// The nonce is random.c's, the key is this one: an input can hold the right WELCOME.
static void set_secret(void) {
  char file[] = "/tmp/katafleet-fuzz-key-XXXXXX";
  uint8_t key[NONCE];
  for (size_t i = 0; i < sizeof key; i++)
    key[i] = (uint8_t)i;
  int fd = mkstemp(file);
  if (fd < 0 || write(fd, key, sizeof key) != sizeof key || !handshake_secret(file) || !handshake_names())
    abort();
  close(fd);
  unlink(file);
}

static void fuzz_handshake(const uint8_t *bytes, size_t size) {
  int ends[2];
  uint32_t heartbeat_ms = 0;
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) < 0)
    abort();
  if (write(ends[0], bytes, size) != (ssize_t)size)
    abort();
  shutdown(ends[0], SHUT_WR);
  const char *wrong = handshake(ends[1], UINT64_MAX, &heartbeat_ms);
  if (wrong ? heartbeat_ms != 0 || strlen(wrong) > 256 : size < 2 * 5 + 40 + DIGEST + 4)
    abort();
  close(ends[0]);
  close(ends[1]);
}

static void fuzz_names(const uint8_t *bytes, size_t size) {
  uint8_t question[DNS_MOST];
  struct in_addr found[3];
  size_t asked = dns_question(question, 0x6b66, "katafleet.example");
  uint8_t *exact = malloc(size); // so that one byte too far is seen
  if (!asked || (!exact && size))
    abort();
  if (size)
    memcpy(exact, bytes, size);
  int n = dns_addresses(exact, size, question, asked, found, 3);
  if (n < -2 || n > 3 || (n > 0 && size < asked + (size_t)n * 15))
    abort();
  free(exact);
  char name[MAX_NAME + 2];
  size_t length = size < sizeof name ? size : sizeof name - 1;
  if (size)
    memcpy(name, bytes, length);
  name[length] = 0;
  if (dns_question(question, 0, name) > 12 + MAX_NAME + 2 + 4)
    abort();
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
  (void)argc, (void)argv;
  set_secret();
  if (!mkdtemp(folder) || atexit(remove_folder))
    abort();
  dev_null = open("/dev/null", O_WRONLY);
  return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
  if (size > 0 && *bytes == 'H')
    return fuzz_handshake(bytes + 1, size - 1), 0;
  if (size > 0 && *bytes == 'D')
    return fuzz_names(bytes + 1, size - 1), 0;
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
