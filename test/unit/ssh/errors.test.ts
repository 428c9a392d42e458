import assert from 'node:assert/strict';
import { dockerError, saidBy } from '../../../src/drivers/ssh/errors.ts';
import { sshError } from '../../../src/drivers/transport/failure.ts';
import type { SshSettings, SshTarget } from '../../../src/drivers/transport/target.ts';

const answer = (stderr: string, code = 1) => ({ code, stdout: '', stderr });
const fatal = (message: string) => `time="2026-11-25T01:00:00Z" level=fatal msg="${message.replace(/["\\]/g, '\\$&')}"\n`;

describe('errors of a node’s docker', () => {
  it('get a code from the words of 1.6 and of later releases', () => {
    const cases: [string, number, string][] = [
      [fatal("Cannot connect to the Docker daemon. Is 'docker -d' running on this host?"), 1, 'engine.unreachable'],
      ['Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?', 1, 'engine.unreachable'],
      ['Error response from daemon: engine is shutdown', 1, 'engine.unreachable'],
      [
        fatal('Get http:///var/run/docker.sock/v1.18/version: dial unix /var/run/docker.sock: permission denied. Are you trying'),
        1,
        'engine.permission',
      ],
      [
        'Got permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock: Get "http://…"',
        1,
        'engine.permission',
      ],
      ['permission denied while trying to connect to the docker API at unix:///var/run/docker.sock', 1, 'engine.permission'],
      [fatal('Error response from daemon: engine is shutdown'), 1, 'engine.unreachable'],
      [
        fatal(
          'Post http:///var/run/docker.sock/v1.18/containers/create?name=x: EOF. Are you trying to connect to a TLS-enabled daemon without TLS?',
        ),
        1,
        'engine.unreachable',
      ],
      [
        fatal(
          'Get http:///var/run/docker.sock/v1.18/info: dial unix /var/run/docker.sock: no such file or directory. Are you trying to connect to a TLS-enabled daemon without TLS?',
        ),
        1,
        'engine.unreachable',
      ],
      [fatal('Error response from daemon: unexpected EOF'), 1, 'engine.failed'],
      ['sh: 1: docker: not found\n', 127, 'docker.missing'],
      ['katafleet-gate: docker is not installed on this node\n', 127, 'docker.missing'],
      ['katafleet-gate: refused: the image is of no admitted repository\n', 126, 'gate.refused'],
      [fatal('Error response from daemon: write /var/lib/docker/x: no space left on device'), 1, 'engine.disk_full'],
      [fatal('Error response from daemon: Conflict. The name "dup" is already in use by container 0123456789ab.'), 1, 'engine.conflict'],
      [
        'docker: Error response from daemon: Conflict. The container name "/dup" is already in use by container "01".',
        125,
        'engine.conflict',
      ],
      ["Unable to find image 'nosuchimage:latest' locally\nPulling repository nosuchimage\n", 1, 'image.unknown'],
      [fatal('Error response from daemon: Cannot start container 01: [8] System error: exec: "x": not found'), 1, 'engine.failed'],
      ['', 1, 'engine.failed'],
    ];
    for (const [stderr, code, expected] of cases) {
      const error = dockerError(answer(stderr, code), 'node', 'start a sandbox');
      assert.equal(error.code, expected, stderr);
      assert.ok(error.message.includes('node'), error.message);
      assert.ok(expected === 'engine.failed' || expected === 'engine.conflict' || error.hint !== undefined, `${expected} says what to do`);
    }
  });

  it('quote the reason for each name, not the line that sums them up', () => {
    const reason = 'Error response from daemon: Could not kill running container, cannot remove - [2] Container does not exist';
    assert.equal(saidBy(answer(`${reason}\n${fatal('Error: failed to remove one or more containers')}`)), reason);
    assert.equal(saidBy(answer(fatal('Error: failed to remove one or more images'))), 'Error: failed to remove one or more images');
    assert.equal(saidBy(answer(`WARNING: No swap limit support\n${fatal('no room')}`)), 'no room');
  });

  it('quote docker’s message without its log prefix', () => {
    assert.equal(saidBy(answer(fatal('Error: the "name"'))), 'Error: the "name"');
    assert.equal(saidBy(answer("docker: Error response from daemon: no.\nSee 'docker run --help'.\n")), 'Error response from daemon: no.');
  });
});

describe('errors of ssh', () => {
  it('get a code from ssh’s words', () => {
    const changed = '@@@@@@@@@@@\n@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\n@@@@@@@@\nHost key verification failed.\n';
    const cases: [string, string, RegExp][] = [
      [changed, 'ssh.host_key', /differs from the known one/],
      [
        'No ED25519 host key is known for node and you have requested strict checking.\nHost key verification failed.',
        'ssh.host_key',
        /not known/,
      ],
      ['me@node: Permission denied (publickey).', 'ssh.refused', /no such user/],
      ['sudo: a password is required', 'ssh.refused', /sudo/],
      ['ssh: connect to host node port 22: Connection refused', 'engine.unreachable', /no ssh server/],
      ['ssh: connect to host node port 22: Connection timed out', 'engine.unreachable', /does not answer/],
      ['ssh: connect to host node port 22: No route to host', 'engine.unreachable', /does not answer/],
      ['ssh: Could not resolve hostname node: Name or service not known', 'engine.unreachable', /no host has the name/],
      ["Can't open user config file /x: No such file or directory", 'endpoint.invalid', /files and options/],
      ['mux_client_request_session: read from master failed: Broken pipe', 'engine.unreachable', /broke/],
      ['', 'engine.unreachable', /broke/],
    ];
    for (const [complaint, code, about] of cases) {
      const error = sshError(complaint, { host: 'node', user: 'me' });
      assert.equal(error.code, code, complaint);
      assert.match(error.message, about);
    }
  });

  it('have hints that can be typed: with the port, and as the user whose files they change', () => {
    const hint = (complaint: string, target: SshTarget, settings: SshSettings = {}) => sshError(complaint, target, settings).hint ?? '';
    const [unknown, changed] = ['Host key verification failed.', 'Host key for node has changed and you have requested strict checking.'];
    const plain = { host: 'node', user: 'me' };
    const away = { ...plain, port: '2222' };
    assert.match(hint(unknown, plain), /^ssh-keyscan node >> ~\/\.ssh\/known_hosts, /);
    assert.match(hint(unknown, away), /^ssh-keyscan -p 2222 node >> /);
    assert.match(hint(unknown, away, { knownHosts: '/k' }), /^ssh-keyscan -p 2222 node >> \/k, /);
    assert.match(
      hint(unknown, away, { as: 'test-runner' }),
      /^ssh-keyscan -p 2222 node \| sudo -u test-runner tee -a ~test-runner\/\.ssh\/known_hosts, /,
    );
    assert.match(hint(changed, plain), /; then ssh-keygen -R node, and add the new one: ssh-keyscan node >> /);
    assert.match(
      hint(changed, away, { as: 'test-runner', knownHosts: '/k' }),
      /; then sudo -u test-runner ssh-keygen -R '\[node\]:2222' -f \/k, /,
    );
    assert.match(
      hint('me@node: Permission denied (publickey).', away, { as: 'test-runner' }),
      /^sudo -u test-runner ssh-copy-id -p 2222 me@node, /,
    );
  });
});
