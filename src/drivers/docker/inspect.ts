import type Dockerode from 'dockerode';
import { isImageName } from '../../model/image-name.ts';
import { isStatus } from './errors.ts';

/** Returns what the engine knows of an image; undefined if it has none with that name. @throws what dockerode throws */
export async function inspectImage(docker: Dockerode, name: string): Promise<Dockerode.ImageInspectInfo | undefined> {
  if (!isImageName(name)) return undefined; // another text could change the request's address
  try {
    return await docker.getImage(name).inspect();
  } catch (error) {
    if (isStatus(error, 404)) return undefined;
    throw error;
  }
}
