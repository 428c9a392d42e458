import assert from 'node:assert/strict';
import Dockerode from 'dockerode';
import tar from 'tar-stream';
import { labels } from '../../src/model/labels.ts';
import { defaultUids, uidsInWords } from '../../src/model/users.ts';
import { EngineDriver } from '../../src/drivers/engine/driver.ts';
import type { Katafleet } from '../../src/app/library.ts';
import { supervisorBinary } from '../../src/drivers/docker/supervisor.ts';
import { endpoint, sh, stdout, testFleet } from '../support/fleet.ts';

const evil = Buffer.from('#!/bin/sh\nexec id\n');
/** Stands for the supervisor's bytes. */
const real = Buffer.alloc(0);
const entry = (name: string, content: Buffer = evil): Entry => ({ header: { name, mode: 0o755 }, content });
const link = (name: string, linkname: string): Entry => ({ header: { name, type: 'symlink', linkname }, content: undefined });
interface Entry {
  header: Partial<tar.Header> & { name: string };
  content: Buffer | undefined;
}

describe('images that claim the supervisor’s label, in real containers', () => {
  const docker = new Dockerode({ socketPath: endpoint.replace('unix://', '') });
  const repo = 'katafleet-test/forged';
  const made = new Set<string>();
  let fleet: Katafleet;
  let supervisor: Awaited<ReturnType<typeof supervisorBinary>>;
  let original: Dockerode.ImageInspectInfo;
  before(async () => {
    original = await docker.getImage('katafleet/build-essential').inspect();
    supervisor = await supervisorBinary(original.Architecture as 'amd64');
  });
  beforeEach(() => (fleet = testFleet()));
  afterEach(async () => {
    await fleet.close(); // it has a warm sandbox of the image
    for (const id of made) {
      const adapted = await docker.listImages({ filters: { label: [`${labels.adaptedFrom}=${id}`] } });
      for (const image of [...adapted.map(({ Id }) => Id), id]) await docker.getImage(image).remove({ force: true });
    }
    made.clear();
  });

  const claims = () => ({
    ...original.Config.Labels,
    [labels.supervisor]: supervisor.sha256,
    [labels.uids]: uidsInWords(defaultUids),
  });

  /** build-essential with the labels of one that needs nothing, and these entries in the place of what it has. */
  async function forge(name: string, entries: readonly Entry[], config: object = {}): Promise<string> {
    const pack = tar.pack();
    for (const { header, content } of entries) {
      if (content === undefined) pack.entry(header);
      else pack.entry(header, content);
    }
    pack.finalize();
    const container = await docker.createContainer({ Image: original.Id, Entrypoint: ['/none'] });
    try {
      await container.putArchive(pack as unknown as NodeJS.ReadableStream, { path: '/' });
      const body = { repo, tag: name, Labels: claims(), ...config };
      const { Id } = (await container.commit(body as object)) as { Id: string };
      made.add(Id);
      return Id;
    } finally {
      await container.remove({ force: true, v: true });
    }
  }

  /** Who serves a run of the image: the supervisor's users are of the range, and nobody is root. */
  async function served(name: string): Promise<string> {
    const image = `${repo}:${name}`;
    const result = await sh(fleet, 'id -u; sha256sum <$(readlink -f /.katafleet/supervisor) | cut -d" " -f1', { image });
    const { id } = await fleet.driver.prepare(image);
    const [uid, sha256] = stdout(result).split('\n');
    assert.ok(Number(uid) >= defaultUids.first && Number(uid) < defaultUids.first + defaultUids.count, `uid ${uid}`);
    assert.equal(sha256, supervisor.sha256);
    return id;
  }

  const forms: Record<string, Entry[]> = {
    file: [entry('.katafleet/supervisor')],
    link: [entry('evil'), link('.katafleet/supervisor', '/evil')],
    folder: [{ header: { name: '.katafleet/supervisor', type: 'directory', mode: 0o755 }, content: undefined }],
    'linked-folder': [link('.katafleet', '/etc'), entry('etc/supervisor')],
    // What is looked into has the image's /proc, what runs has the kernel's.
    'two-faced': [link('.katafleet', '/proc/1/cwd/x'), entry('x/supervisor'), entry('proc/1/cwd/x/supervisor', real)],
  };
  for (const [form, entries] of Object.entries(forms)) {
    it(`are served by the real one, whatever they have in its place: ${form}`, async () => {
      const id = await forge(
        form,
        entries.map(({ header, content }) => ({ header, content: content === real ? supervisor.bytes : content })),
      );
      assert.notEqual(await served(form), id);
    });
  }

  it('are not believed under the name of one that katafleet made ready either', async () => {
    await forge('file', [entry('.katafleet/supervisor')]);
    const id = await served('file');
    const [tag = ''] = (await docker.getImage(id).inspect()).RepoTags;
    const forged = await forge('other', [entry('.katafleet/supervisor')]);
    const [repository = '', key = ''] = tag.split(':');
    await docker.getImage(forged).tag({ repo: repository, tag: key });
    await using other = testFleet();
    const prepared = await other.driver.prepare(`${repo}:file`);
    assert.notEqual(prepared.id, forged);
    const result = await sh(other, 'id -u', { image: `${repo}:file` });
    assert.notEqual(stdout(result), '0\n');
  });

  it('are refused where they declare a volume over it', async () => {
    await forge('volume', [entry('.katafleet/supervisor')], { Volumes: { '/.katafleet': {} } });
    await assert.rejects(fleet.driver.prepare(`${repo}:volume`), (error) => (error as { code?: string }).code === 'image.unsuitable');
  });

  it('are looked into once, and the real one is used as it is', async () => {
    const driver = new EngineDriver({ endpoint });
    try {
      const client = await driver.client();
      let created = 0;
      const create = client.createContainer.bind(client);
      client.createContainer = ((options: Dockerode.ContainerCreateOptions) => {
        created += 1;
        assert.equal(options.WorkingDir, '/');
        return create(options);
      }) as typeof client.createContainer;
      const id = await forge('good', [entry('.katafleet/supervisor', supervisor.bytes)]);
      for (let i = 0; i < 3; i += 1) assert.equal((await driver.prepare(`${repo}:good`)).id, id);
      assert.equal(created, 1);
    } finally {
      driver.close();
    }
  });
});
