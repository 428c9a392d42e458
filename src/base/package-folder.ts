import { fileURLToPath } from 'node:url';

/**
 * Returns the path of a file or folder of this package, given from the package's root, such as `stacks/`. The root is two folders up
 * from src/base, dist/base and dist/bundle alike. The bundle joins modules of many folders, so no other module uses import.meta.url.
 */
export const inPackage = (path: string): string => fileURLToPath(new URL(`../../${path}`, import.meta.url));
