import type Dockerode from 'dockerode';
import { isImageName } from '../../model/image-name.ts';
import { isStatus } from './errors.ts';

/** What the engine knows of an image; undefined if it has none of that name. @throws what dockerode throws */
export async function inspectImage(docker: Dockerode, name: string): Promise<Dockerode.ImageInspectInfo | undefined> {
  if (!isImageName(name)) return undefined; // the address would be another
  try {
    return await docker.getImage(name).inspect();
  } catch (error) {
    if (isStatus(error, 404)) return undefined;
    throw error;
  }
}
