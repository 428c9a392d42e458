import assert from 'node:assert/strict';
import { ownImageFindings } from '../../src/cli/doctor/image.ts';
import { KatafleetError } from '../../src/model/errors.ts';
import { debianRelease, type HostNode, hostNode, planNode } from '../../src/images/host-node.ts';

/** What process.report names for a Node of nodejs.org. */
const usual = ['linux-vdso.so.1', 'libdl.so.2', 'libstdc++.so.6', 'libm.so.6', 'libgcc_s.so.1', 'libpthread.so.0', 'libc.so.6'];
const libraries = [...usual.map((name) => `/lib/x86_64-linux-gnu/${name}`), '/lib64/ld-linux-x86-64.so.2'];
const own: HostNode = { path: '/opt/node/bin/node', debian: undefined, libraries, glibc: '2.28' };
/** As Debian 13's package nodejs has it. */
const ofApt: HostNode = {
  path: '/usr/bin/nodejs',
  debian: { suite: 'trixie', version: 13 },
  libraries: [
    ...libraries,
    '/lib/x86_64-linux-gnu/libnode.so.115',
    '/lib/x86_64-linux-gnu/libuv.so.1',
    '/lib/libz.so.1',
    '/lib/libcares.so.2',
  ],
  glibc: '2.41',
};
const refused = (about: RegExp) => (error: unknown) =>
  error instanceof KatafleetError && error.code === 'build.failed' && about.test(error.message) && /nodejs\.org/.test(error.hint ?? '');

describe("the Node of katafleet's own image", () => {
  it('is the one that builds, on the release of this machine where that is Debian', () => {
    const on = (suite: string, version: number) => planNode({ ...own, debian: { suite, version } });
    assert.deepEqual(on('trixie', 13), { suite: 'trixie', node: 'copied' });
    assert.deepEqual(on('bookworm', 12), { suite: 'bookworm', node: 'copied' });
    assert.deepEqual(on('bullseye', 11), { suite: 'bookworm', node: 'copied' });
    assert.deepEqual(planNode(own), { suite: 'bookworm', node: 'copied' });
  });

  it("is Debian's own where that builds", () => {
    assert.deepEqual(planNode(ofApt), { suite: 'trixie', node: 'apt' });
  });

  it('is refused where no image can have it, with what it lacks and what to do', () => {
    assert.throws(
      () => planNode({ ...ofApt, debian: undefined }),
      refused(/libraries that the image does not have \(libnode\.so\.115, libuv\.so\.1, libz\.so\.1 and 1 more\)/),
    );
    assert.throws(() => planNode({ ...ofApt, path: '/usr/local/bin/node' }), refused(/libnode/));
    assert.throws(() => planNode({ ...ofApt, debian: { suite: 'bookworm', version: 12 } }), refused(/libnode/));
    assert.throws(() => planNode({ ...own, glibc: '2.38' }), refused(/glibc 2\.38, and the image has 2\.36/));
    assert.throws(() => planNode({ ...own, glibc: '3.0' }), refused(/glibc 3\.0/));
    assert.deepEqual(planNode({ ...own, glibc: undefined }), { suite: 'bookworm', node: 'copied' });
  });

  it('knows Debian from what stands on it', () => {
    const trixie =
      'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nNAME="Debian GNU/Linux"\nVERSION_ID="13"\nVERSION_CODENAME=trixie\nID=debian\n';
    assert.deepEqual(debianRelease(trixie), { suite: 'trixie', version: 13 });
    assert.equal(debianRelease('ID=ubuntu\nID_LIKE=debian\nVERSION_ID="24.04"\nVERSION_CODENAME=noble\n'), undefined);
    assert.equal(debianRelease('ID=debian\nVERSION_CODENAME=forky\n'), undefined);
    assert.equal(debianRelease(''), undefined);
  });

  it('is what doctor warns of where it can not be, and says nothing of otherwise', async () => {
    assert.deepEqual(await ownImageFindings(() => Promise.resolve(undefined)), []);
    const fault = new KatafleetError('build.failed', 'Node needs libnode.so.115', { hint: 'use one from nodejs.org' });
    const [finding, ...more] = await ownImageFindings(() => Promise.resolve(fault));
    assert.deepEqual([finding?.state, finding?.mend, more], ['weak', 'use one from nodejs.org', []]);
    assert.match(finding?.what ?? '', /own image.*deploy needs.*libnode\.so\.115/);
  });

  it('is looked at here as it is', async () => {
    const here = await hostNode();
    assert.ok(
      here.libraries.some((library) => /\/libc\.so|ld-musl/.test(library)) || process.platform !== 'linux',
      here.libraries.join(' '),
    );
    assert.equal(
      here.libraries.some((library) => library.endsWith('.node')),
      false,
    );
  });
});
