import assert from 'node:assert/strict';
import type { Katafleet } from '../../src/app/library.ts';
import { environmentFacts } from '../support/environment.ts';
import { sh, stderr, stdout, testFleet } from '../support/fleet.ts';

describe('on an engine', () => {
  let fleet: Katafleet;
  before(() => (fleet = testFleet()));
  after(() => fleet.close());
  it('programs talk to each other by IPv6', async () => {
    const talk = `perl -MIO::Socket::IP -e '
      my $server = IO::Socket::IP->new(Listen => 1, LocalHost => "::1", LocalPort => 0) or die "$@";
      if (fork == 0) { my $c = IO::Socket::IP->new(PeerHost => "::1", PeerPort => $server->sockport) or die "$@"; print $c "heard\\n"; exit }
      print scalar $server->accept->getline'`;
    const result = await sh(fleet, talk);
    assert.deepEqual([stdout(result), stderr(result)], ['heard\n', '']);
  });

  environmentFacts('engine', () => fleet, 'katafleet/debian:bookworm');
});
