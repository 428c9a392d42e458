import type Dockerode from 'dockerode';

/** What is read of an engine that may have containerd's image store, which Docker 29 has from its installation on. */
interface StoreView {
  DriverStatus?: readonly (readonly [string, string])[] | null;
}

/**
 * About how many bytes an image's archive has. containerd's store counts an image twice, as it is kept and handed on (its
 * content, compressed where a registry gave it) and as it is unpacked; the layers' sizes are of the latter alone. Undefined
 * for the engine's own store, whose sizes are those of the archive; 0 where it can't be told.
 */
export async function archiveBytes(docker: Dockerode, name: string): Promise<number | undefined> {
  const { DriverStatus } = (await docker.info()) as StoreView;
  if (!isContainerd(DriverStatus ?? [])) return undefined;
  const image = docker.getImage(name);
  const [{ Size, Id }, history, all] = await Promise.all([
    image.inspect(),
    image.history() as Promise<readonly { Size: number }[]>,
    docker.listImages(),
  ]);
  const listed = all.find((one) => one.Id === Id)?.Size ?? Size;
  const unpacked = history.reduce((sum, layer) => sum + layer.Size, 0);
  return Math.max(0, listed - unpacked);
}

const isContainerd = (status: readonly (readonly [string, string])[]) =>
  status.some(([key, value]) => key === 'driver-type' && value.startsWith('io.containerd.snapshotter'));
