import { fileURLToPath } from 'node:url';

/**
 * A file or folder of this package by its path from the package's root, `stacks/` for instance. The way up is the same from src/base,
 * dist/base and dist/bundle, which holds all modules in a few files: so no other module asks for import.meta.url.
 */
export const inPackage = (path: string): string => fileURLToPath(new URL(`../../${path}`, import.meta.url));
