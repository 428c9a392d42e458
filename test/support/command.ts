import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const project = fileURLToPath(new URL('../../', import.meta.url));
const built = join(project, 'dist/main.js');

/** The words that run katafleet's command line from any folder: as it was built, which starts in a tenth of the time, if no source is younger. */
export const command: readonly [string, ...string[]] = isUpToDate()
  ? [process.execPath, built]
  : [process.execPath, '--import', fileURLToPath(import.meta.resolve('tsx')), join(project, 'src/main.ts')];

function isUpToDate(): boolean {
  const builtAt = statSync(built, { throwIfNoEntry: false })?.mtimeMs ?? 0;
  const sources = readdirSync(join(project, 'src'), { recursive: true, encoding: 'utf8' });
  return sources.every((name) => statSync(join(project, 'src', name)).mtimeMs <= builtAt);
}
