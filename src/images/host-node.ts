import { readFile } from 'node:fs/promises';
import { realpathSync } from 'node:fs';
import { listed } from '../base/listed.ts';
import { KatafleetError } from '../model/errors.ts';

/** What of this machine and its Node decides which image can run that Node, or another one in its place. */
export interface HostNode {
  /** Where Node lies, links followed. */
  path: string;
  /** The release of Debian that this machine runs; undefined for any other system. */
  debian: { suite: string; version: number } | undefined;
  /** Paths of the libraries that Node has loaded, the kernel's own among them. */
  libraries: readonly string[];
  /** The C library that Node was compiled against, as 2.28; undefined where it has none of that kind. */
  glibc: string | undefined;
}

/** How an image gets its Node: this machine's own, or the one that its release's apt has. */
export interface NodePlan {
  suite: string;
  node: 'copied' | 'apt';
}

/** The least release that images stand on. */
const least = { suite: 'bookworm', version: 12, glibc: '2.36' };
/** The first release whose own Node is new enough for katafleet. */
const firstWithNode = 13;
/** What every image of ours has: the C library, the compiler's own, and what the kernel gives. */
const inEveryImage = /^(ld-linux.*|linux-(vdso|gate)|lib(c|m|dl|rt|pthread|resolv|util|gcc_s|stdc\+\+))\.so/;

/**
 * Which release an image must stand on so that it can run katafleet with this machine's Node and packages: this machine's, where
 * that is Debian, for what was compiled here runs there; else the oldest. A Node of Debian's own packages, which needs dozens of
 * libraries, comes from the same packages.
 * @throws build.failed for a Node that no image can have
 */
export function planNode({ path, debian, libraries, glibc }: HostNode): NodePlan {
  const follow = debian !== undefined && debian.version >= least.version ? debian : undefined;
  const foreign = libraries.map((library) => library.split('/').at(-1) ?? library).filter((library) => !inEveryImage.test(library));
  const suite = follow?.suite ?? least.suite;
  if (foreign.length > 0) {
    if (follow && follow.version >= firstWithNode && /^\/usr\/bin\/node(js)?$/.test(path)) return { suite, node: 'apt' };
    throw refuse(`needs libraries that the image does not have (${listed(foreign, 3)})`);
  }
  if (!follow && glibc !== undefined && isLater(glibc, least.glibc))
    throw refuse(`was compiled for glibc ${glibc}, and the image has ${least.glibc}, of Debian ${least.suite}`);
  return { suite, node: 'copied' };
}

const refuse = (why: string) =>
  new KatafleetError('build.failed', `the Node that runs katafleet here ${why}; katafleet's own image gets that Node`, {
    hint: 'use a Node from https://nodejs.org, with npm ci again; or build the image on Debian, where it may be of apt from Debian 13 on',
  });

function isLater(version: string, than: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const [thanMajor = 0, thanMinor = 0] = than.split('.').map(Number);
  return major > thanMajor || (major === thanMajor && minor > thanMinor);
}

/** What is read of os-release(5), which names Debian's derivatives by names of their own. */
export function debianRelease(text: string): HostNode['debian'] {
  const value = (key: string) => new RegExp(`^${key}="?([\\w.]*)"?$`, 'm').exec(text)?.[1];
  const [suite, version] = [value('VERSION_CODENAME'), Number(value('VERSION_ID'))];
  return value('ID') === 'debian' && suite !== undefined && /^[a-z]+$/.test(suite) && version > 0 ? { suite, version } : undefined;
}

/** This machine, and the Node that runs this. */
export async function hostNode(): Promise<HostNode> {
  // Without that it asks for names of all open connections; the types lack it.
  const reporter = Object.assign(process.report, { excludeNetwork: true });
  const report = reporter.getReport() as unknown as { header: { glibcVersionCompiler?: string }; sharedObjects: string[] };
  return {
    path: realpathSync(process.execPath),
    debian: debianRelease(await readFile('/etc/os-release', 'utf8').catch(() => '')), // a system without one is none of Debian's
    // Packages of Node's own kind, loaded by now, come with the project.
    libraries: report.sharedObjects.filter((library) => !library.endsWith('.node')),
    glibc: report.header.glibcVersionCompiler,
  };
}

/** Why this machine can't build katafleet's own image, or undefined where it can: for `doctor`, which says it beforehand. */
export async function hostNodeFault(): Promise<KatafleetError | undefined> {
  try {
    planNode(await hostNode());
    return undefined;
  } catch (error) {
    if (error instanceof KatafleetError) return error;
    throw error;
  }
}
