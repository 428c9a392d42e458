// What the supervisor's files share. docs/protocol.md is the contract; sizes are bytes, times nanoseconds unless named.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>

#define VERSION "1.0.0"
#define PROTOCOL 1
#define MAX_PAYLOAD 65536u
#define MAX_PATH_BYTES 4095u
#define MAX_PART 255u
#define MAX_PARTS 64
#define MOST_TAIL 65536u
#define MOST_INSTRUCTIONS 2048u
#define MOST_PTYS 64
#define NS 1000000000ull

enum frame {
  OPEN = 1,
  FILE_IN,
  DATA_IN,
  DIR_IN,
  DELETE,
  STDIN_IN,
  EXEC,
  KILL,
  COLLECT,
  CLOSE,
  PING,
  BASELINE,
  LIST,
  BACK,
  CHALLENGE = 0x10,
  WELCOME,
  REFUSED,
  HELLO = 0x81,
  STARTED,
  STDOUT,
  STDERR,
  CUT,
  RESULT,
  FILE_OUT,
  DATA_OUT,
  DIR_OUT,
  DELETED,
  OMITTED,
  COLLECTED,
  PONG,
  FAIL,
  LISTED,
  ANSWER = 0x90,
  ALIVE,
  TAIL
};
enum fail { F_PROTOCOL = 1, F_VERSION, F_SPACE, F_FILE, F_SUPERVISOR, F_LIFETIME };
enum how { EXITED, SIGNALLED, WALL, CPU, KILLED, DISK };
enum omitted {
  O_LINK = 1,
  O_HARD,
  O_FIFO,
  O_SOCKET,
  O_DEVICE,
  O_LARGE,
  O_COUNT,
  O_BYTES,
  O_UNREADABLE,
  O_PATH_LONG,
  O_UNKNOWN
};
enum ability {
  A_PID1 = 1,
  A_OOM = 2,
  A_CPU = 4,
  A_PEAK = 8,
  A_NETNS = 16,
  A_TMPFS = 32,
  A_WATCH = 64,
  A_BASELINE = 128,
  A_TAIL = 256,
  A_BACK = 512,
  A_GUARD = 1024,
  A_IPC = 2048
};
// Flags of EXEC.
enum { X_NETWORK = 1, X_COLLECT = 2, X_NO_IPC = 4, X_TAILS = 8 };

// ---- wire.c: payload fields. A cursor that ran out stays `bad`; reads then give 0.
struct cursor {
  const uint8_t *at, *end;
  bool bad;
};
uint64_t take(struct cursor *c, int bytes);
// A str without a byte 0; not terminated.
const char *take_str(struct cursor *c, uint16_t *length);
uint8_t *put(uint8_t *at, uint64_t value, int bytes);
// Whether bytes are a path as the protocol wants them.
bool path_ok(const char *path, size_t length);

// ---- stream.c: the two directions of the stream, both non-blocking and of fixed size.
void stream_init(int in_fd, int out_fd);
// Room for a frame with `length` bytes of payload now?
bool out_room(size_t length);
// Queues a frame; there must be room.
void out_frame(enum frame type, const void *payload, size_t length);
// As out_frame, but waits for the host to read, looking at the input meanwhile so that its end is noticed.
void out_wait_frame(enum frame type, const void *payload, size_t length);
// Writes what it can; never blocks.
void out_flush(void);
bool out_pending(void);
// Reads once; false at the stream's end.
bool in_fill(void);
// Next whole frame, NULL if there is none yet. Valid until the next in_fill. Breaks the connection on a bad length.
const uint8_t *in_frame(uint8_t *type, uint32_t *length);
bool in_has_room(void);
// The other side is gone: ends the supervisor, unless it may dial again: then nothing comes or goes until stream_init.
void stream_lose(void);
bool stream_lost(void);
extern int stream_in, stream_out;

// ---- main.c: the ways out.
_Noreturn void finish(int code);
_Noreturn void fail(enum fail reason, int error, const char *message, const char *path);
uint64_t now(void);
extern struct options {
  uint32_t uid, gid, files_back;
  uint64_t file_back, bytes_back;
  int root;
  const char *sandbox;
  bool pid1;
  bool keeps_network; // steps may have the network that was dialled on
} options;

// ---- tree.c: paths below the sandbox folder. No symbolic link is followed, whoever made it.
// Opens the folder that holds the last part (making folders when `make`); the last part through `name`. -1 and errno.
int tree_parent(const char *path, bool make, const char **name);
// Removes whatever has this name in a folder, all that it holds included. Absent is fine.
int tree_remove(int dir, const char *name, int depth);

// A folder that the user has locked himself out of opens again for him.
void tree_unlock(int dir);

// ---- baseline.c: what the host knows of the sandbox, by path.
struct known {
  uint64_t size, ino, hash;
  struct timespec mtime, ctime;
  uint32_t path;
  uint16_t mode;
  uint8_t kind, seen;
};
enum { K_GONE, K_FILE, K_DIR };
struct known *known_find(const char *path);
// Whether known_add() has room for a path that it does not have yet.
bool known_room(const char *path);
struct known *known_add(const char *path, uint8_t kind);
const char *known_path(const struct known *k);
// Each in turn, NULL at the end; begin with i = 0.
struct known *known_next(size_t *i);
void known_forget_below(const char *path);
void known_stamp(struct known *k, const struct stat *st, uint64_t hash);
// Whether a file can't differ from its baseline, without reading it.
bool known_same(const struct known *k, const struct stat *st);
struct digest {
  uint64_t v0, v1, v2, v3, tail, length;
};
void digest_begin(struct digest *d);
void digest_add(struct digest *d, const void *bytes, size_t length);
uint64_t digest_end(struct digest *d);

// ---- receive.c: FILE, DATA, DIR, DELETE, STDIN.
void receive(uint8_t type, const uint8_t *payload, uint32_t length);
bool receive_in_file(void);
// Gives folders the time stamps that were asked for, after their content has come.
void receive_settle(void);
// Standard input for the next step, -1 if none was sent; the caller closes it.
int receive_stdin(void);

// ---- age.c: files that come after a step are newer than what the step built from their predecessors.
void age_step_over(void);
// What was there before a file that is about to come.
struct predecessor {
  bool there, intact; // intact: what lies there is what the baseline says
  uint64_t size, hash;
  struct timespec mtime;
};
// The time that a file gets which was sent with the time `sent`. May wait for the clock, for two seconds at
// most for all files after a step.
struct timespec age_of(const struct predecessor *old, uint64_t size, uint64_t hash, struct timespec sent);

// ---- glob.c: which paths come back.
// BACK: takes the place of what it said before.
void glob_take(const uint8_t *payload, uint32_t length);
// Whether a path is one of them; all are where nothing was said.
bool glob_wants(const char *path);

// ---- collect.c
// Answers COLLECT, LIST or BASELINE, which is `type`: what changed with its contents, without them, or only how much
// there is. After COLLECT and BASELINE the state is the new baseline.
void collect(enum frame type);

// ---- cgroup.c: this container's own counters; 0 or -1 where the kernel doesn't tell.
// May use CAP_SYS_ADMIN to reach them. Before anything of the user's is there.
void cgroup_init(void);
uint32_t cgroup_abilities(void);
int64_t cgroup_oom_kills(void);
int64_t cgroup_cpu_ns(void);
uint64_t cgroup_peak(void);

// ---- processes.c
// CPU time of all processes of this PID namespace, those that ended included, but for ours. Up to 40 ms old.
int64_t processes_cpu_ns(void);

// ---- capabilities.c
// Whether it (CAP_SYS_ADMIN for instance, one of the first 32) is in the effective set.
bool capability_held(int capability);
// Takes it out of every set, the bounding set included: nothing that runs here can have it again.
void capability_drop(int capability);

// ---- dial.c: the stream is a connection of ours to the host, where the command line says so.
// `ADDRESS[,ADDRESS]...` of the command line; false where that isn't what it says.
bool dial_to(char *list);
bool dial_wanted(void);
// Takes the secret's file and a descriptor of signals; false where there is no secret, which stderr then tells.
bool dial_begin(const char *secret, int signals, uint64_t lifetime);
// Dials until a host has proved itself, and makes that connection the stream; closes the one before it.
void dial_home(void);
// What has to be there before HELLO.
void dial_prepare(void);
// The host has said OPEN: from here on there is no other connection, no network and no secret.
void dial_opened(void);
// Whether a connection that is lost is made anew.
bool dial_again(void);

// ---- network.c
// Makes a network namespace with nothing but loopback, for later.
void network_prepare(void);
// Goes there, for ever.
void network_leave(void);
bool network_left(void);
// Goes there now, but for one thread that stays, so that steps of the host's can be born on the network; and gives
// CAP_SYS_ADMIN and CAP_NET_ADMIN up for ever. Where it may not, only the latter.
void network_split(void);
// fork(), on the network where there is one: the child runs `child` and nothing else.
pid_t network_fork(void (*child)(const void *), const void *argument);

// ---- heartbeat.c: what a dialled connection needs to be told from a dead one.
// Every so many ms, 0 for never.
void heartbeat_begin(uint32_t ms);
void heartbeat_end(void);
// To be called again and again by all that may take long; costs next to nothing. May lose the stream.
void heartbeat(void);
// Milliseconds until it wants to be called, -1 for never.
int heartbeat_timeout(void);

// ---- etc.c: what a program is told by files of /etc of the machine it is on, and of itself.
// Lays files of the sandbox's own over /etc/hosts, over /etc/resolv.conf unless names are still looked up here, and
// over passwd and group. Does nothing where it may not mount, or where steps keep the network that was dialled on.
void etc_cover(bool resolves);
// OPEN has told the user: it gets a name, in passwd and group where those were covered.
void etc_user(void);
const char *etc_user_name(void);

// ---- filter.c
// Refuses, to this process for ever, the system calls that would give it mounts or namespaces of its own, or what
// namespaces don't confine; System V IPC only on demand. Needs no_new_privs. True also where the kernel has no such
// filters.
bool filter_calls(bool ipc);

// ---- guard.c: a program stays the first that the kernel ends for memory, whatever it does.
// Whether there is a way to keep it so.
bool guard_init(void);
// Marks this process as the first to go.
bool guard_first_to_go(void);
// Keeps this process from taking that back. Needs no_new_privs. True also where the kernel knows no such thing.
bool guard_enter(void);

// ---- ipc.c
void ipc_init(void);
// Removes what the user's processes, all gone, have left of System V's objects.
void ipc_clear(void);

// ---- disk.c: folders that may hold so much and no more, whatever they lie on.
// `PATH=BYTES` of the command line; false where that isn't what it says.
bool disk_bound(char *argument);
// `BYTES` of shared memory of the command line, 0 for none; false where that isn't what it says.
bool disk_shared(const char *argument);
// Mounts a tmpfs on each, or begins to watch where it may not. Whether there was any folder to bound.
bool disk_init(void);
uint32_t disk_abilities(void);
// A step begins.
void disk_begin(void);
// How large a file of the step's may be, of what the host says.
uint64_t disk_largest(uint64_t asked);
// Milliseconds until the next look, -1 for never.
int disk_timeout(void);
// Whether a watched folder is past its bound; looks when it is time to, or `at_once`.
bool disk_passed(bool at_once);
// Whether the sandbox folder takes a file of the host's; ENOSPC if not. A tmpfs tells by itself.
bool disk_takes(uint64_t bytes);

// ---- pty.c: a sandbox has MOST_PTYS pseudo terminals at a time. Nothing happens outside a container.
// Has its devpts give no more, or watches where it may not. Before anything of the user's is there.
void pty_init(void);
// A step begins.
void pty_begin(void);
// The kernel tells of a new one (SIGIO).
void pty_changed(void);
// Milliseconds until the next look, -1 for never.
int pty_timeout(void);
// Whether the step holds more; looks when it is time to.
bool pty_passed(void);

// ---- held.c
// Bytes in files without a name on a device that the user's processes keep open, and how many of them; counts no
// further than `most` bytes.
uint64_t held_bytes(dev_t device, uint64_t most, uint64_t *files);

// ---- spawn.c: a child as the sandbox user.
struct step {
  uint32_t number, wall_ms, cpu_ms, processes, files;
  uint8_t flags;
  uint64_t stdout_cap, stderr_cap, file_size, stack;
  const char *cwd;
  char **argv, **env;
};
// Returns the pid, with the read ends of its stdout and stderr. On failure returns -1, with errno, and what failed:
// "cwd" and "exec" are the fault of the step, all others are the supervisor's.
pid_t spawn(const struct step *s, int input, int output[2], const char **failed);

// ---- tail.c: the end of what was cut from a step's output.
// How many bytes of each stream, MOST_TAIL at most.
void tail_begin(uint32_t most_stdout, uint32_t most_stderr);
void tail_add(int stream, const char *bytes, size_t length);
void tail_send(void);

// ---- step.c: the running step.
void step_exec(const uint8_t *payload, uint32_t length);
bool step_running(void);
void step_kill(void);
// Milliseconds until the step needs a look, -1 for never.
int step_timeout(void);
int step_pipe(int stream);
// Whether a stream of the step is past its cap: it is drained then, whether or not the host reads.
bool step_cut(int stream);
void step_poll(bool readable[2]);
// Kills all that the supervisor could ever have started and reaps it.
void kill_all(void);
