import { readFile, writeFile } from 'node:fs/promises';

/** docs/performance.md: the general figures at its head, then a section for each bench of its own. */
const page = new URL('../../docs/performance.md', import.meta.url);

/** Writes the head; the sections stay. */
export async function writeMain(text: string): Promise<void> {
  const { sections } = await parts();
  await writeFile(page, [text.trimEnd(), ...sections].join('\n\n') + '\n');
}

/** Writes one section, in the place of the one with its heading, or at the end. */
export async function writeSection(heading: string, text: string): Promise<void> {
  const { head, sections } = await parts();
  const section = `## ${heading}\n\n${text.trimEnd()}`;
  const at = sections.findIndex((each) => each.startsWith(`## ${heading}\n`));
  await writeFile(page, [head, ...(at < 0 ? [...sections, section] : sections.with(at, section))].join('\n\n') + '\n');
}

async function parts(): Promise<{ head: string; sections: string[] }> {
  const [head = '', ...sections] = (await readFile(page, 'utf8')).split(/^(?=## )/m).map((part) => part.trimEnd());
  return { head, sections };
}
