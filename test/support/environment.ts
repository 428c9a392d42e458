import assert from 'node:assert/strict';
import { hostname } from 'node:os';
import type { Katafleet, RunRequest } from '../../src/app/library.ts';
import { sh, stderr, stdout } from './fleet.ts';

/** A program that prints its environment, one line `name=value` for each fact. */
const look = `
say() { echo "$1=$(tr -s ' \\t\\n' ' ' | sed 's/ $//')"; }
getent ahosts localhost | cut -d' ' -f1 | sort -u | say localhost
getent ahosts "$(hostname)" | cut -d' ' -f1 | sort -u | say own
{ hostname; hostname -f; } | uniq | wc -l | say names
grep -v '^#' /etc/resolv.conf | say resolver
grep -v '^#' /etc/hosts | grep -vE 'ip6-(localnet|mcastprefix|allnodes|allrouters)' | tr -s ' \\t' ' ' | sed "s/ $(hostname)$/ OWN/" | sort | say hosts
getent hosts elsewhere.example >/dev/null; echo $? | say elsewhere
for name in HOME TMPDIR LANG USER LOGNAME; do eval "echo $name:\\$$name"; done | say variables
locale charmap | say charmap
{ id -un; id -gn; getent passwd "$(id -u)" | cut -d: -f1,4,6; } | say user
for at in "$HOME" "$TMPDIR" /sandbox /dev/shm; do touch "$at/probe" && echo "$at"; done | say writes
for at in $(awk '$4 ~ /(^|,)rw(,|$)/ {print $2}' /proc/mounts | grep -vE '^/(proc|sys)(/|$)'); do
  { touch "$at/probe" || echo >>"$at"; } 2>/dev/null && echo "$at"; done | grep -v '^/dev/pts' | sort -u | say mounts
cut -d' ' -f2 /proc/mounts | grep -E 'docker|\\.sock|^/(home|root|var|boot|mnt|media|etc/(shadow|ssh|ssl|docker))' | say foreign
df -k --output=size /dev/shm | tail -n 1 | tr -d ' ' | say shm
{ ulimit -c; ulimit -n; ulimit -s; ulimit -f; } | say limits
umask | say umask
`;

const expected = {
  localhost: '127.0.0.1 ::1',
  own: '127.0.0.1',
  names: '1',
  resolver: 'nameserver 127.0.0.1',
  hosts: '127.0.0.1 OWN 127.0.0.1 localhost ::1 localhost ip6-localhost ip6-loopback',
  elsewhere: '2',
  variables: 'HOME:/tmp TMPDIR:/tmp LANG:C.UTF-8 USER:sandbox LOGNAME:sandbox',
  charmap: 'UTF-8',
  user: 'sandbox sandbox sandbox:51966:/tmp',
  writes: '/tmp /tmp /sandbox /dev/shm',
  mounts: '/dev/shm /sandbox /tmp',
  foreign: '',
  shm: '8192',
  limits: '0 1024 16384 262144',
  umask: '0022',
};

/** Two programs that talk to each other by a name, and one that shares memory and a lock with another. */
const talk = `
perl -MIO::Socket::IP -e '
  my $server = IO::Socket::IP->new(Listen => 1, LocalHost => "localhost", LocalPort => 0) or die "$@";
  if (fork == 0) { my $c = IO::Socket::IP->new(PeerHost => "localhost", PeerPort => $server->sockport) or die "$@"; print $c "heard\\n"; exit }
  print scalar $server->accept->getline'
cat >p.c <<'C'
#include <fcntl.h>
#include <semaphore.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
int main(void) {
  sem_t *s = sem_open("/lock", O_CREAT, 0600, 0);
  int fd = shm_open("/shared", O_RDWR | O_CREAT, 0600);
  if (s == SEM_FAILED || fd < 0 || ftruncate(fd, 4096) < 0) return perror("shared memory"), 1;
  char *m = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (fork() == 0) return *m = 'y', sem_post(s);
  sem_wait(s);
  printf("shared %c\\n", *m);
  return 0;
}
C
gcc p.c -o p -pthread && ./p`;

/** Tests that a program finds the same environment on every driver. `foreign` is an image that katafleet did not make, with a shell. */
export function environmentFacts(driver: string, fleet: () => Katafleet, foreign?: string): void {
  describe(`a program’s surroundings: ${driver}`, () => {
    const facts = async (request: Partial<RunRequest> = {}): Promise<Record<string, string>> => {
      const result = await sh(fleet(), look, request);
      assert.equal(stderr(result), '');
      return Object.fromEntries(
        stdout(result)
          .trimEnd()
          .split('\n')
          .map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]),
      );
    };

    it('are the same as on every other: names, user, variables, writable places, limits', async () => {
      assert.deepEqual(await facts(), expected);
    });

    it('tell nothing of the machine', async () => {
      const text = stdout(await sh(fleet(), 'cat /etc/hosts /etc/resolv.conf /etc/hostname; hostname; env'));
      assert.ok(!text.split(/[^A-Za-z0-9.-]+/).includes(hostname()), text);
    });

    it('let programs talk to each other by localhost, and share memory', async () => {
      const result = await sh(fleet(), talk);
      assert.deepEqual([stdout(result), stderr(result)], ['heard\nshared y\n', '']);
    });

    it('have no shared memory where the profile has none', async () => {
      const result = await sh(fleet(), 'echo x 2>/dev/null >/dev/shm/x && echo wrote; gcc -v 2>/dev/null; true', { profile: { shm: 0 } });
      assert.equal(stdout(result), '');
    });

    if (foreign === undefined) return;
    it('are the same in an image that nobody made for katafleet', async () => {
      assert.deepEqual(await facts({ image: foreign }), expected);
    });
  });
}
