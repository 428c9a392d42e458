import type Dockerode from 'dockerode';

/** The fields of `GET /info` that show whether the engine has containerd's image store, which is the default since Docker 29. */
interface StoreView {
  DriverStatus?: readonly (readonly [string, string])[] | null;
}

/**
 * Estimates the size of an image's archive, bytes. containerd's store counts an image twice: its content, as it is stored and exported
 * (compressed if it came from a registry), and the unpacked layers. Layer sizes are those of the unpacked layers only. Undefined for the
 * engine's own store, whose image sizes are already those of the archive; 0 if it can't be estimated.
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
