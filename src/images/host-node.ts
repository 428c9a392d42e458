import { readFile } from 'node:fs/promises';
import { realpathSync } from 'node:fs';
import { listed } from '../base/listed.ts';
import { KatafleetError } from '../model/errors.ts';

/** The facts of this machine and its Node which decide in which image that Node can run, or whether another one replaces it. */
export interface HostNode {
  /** The path of Node, with links resolved. */
  path: string;
  /** The release of Debian that this machine runs; undefined for any other system. */
  debian: { suite: string; version: number } | undefined;
  /** Paths of the libraries that Node has loaded, including the kernel's. */
  libraries: readonly string[];
  /** The version of glibc that Node was compiled against, such as 2.28; undefined if it uses another C library. */
  glibc: string | undefined;
}

/** How an image gets its Node: a copy of this machine's, or the package of the image's own release. */
export interface NodePlan {
  suite: string;
  node: 'copied' | 'apt';
}

/** The oldest release that images are based on. */
const least = { suite: 'bookworm', version: 12, glibc: '2.36' };
/** The first release whose own Node is new enough for katafleet. */
const firstWithNode = 13;
/** Libraries that each of our images has: the C library, the compiler's own, and those of the kernel. */
const inEveryImage = /^(ld-linux.*|linux-(vdso|gate)|lib(c|m|dl|rt|pthread|resolv|util|gcc_s|stdc\+\+))\.so/;

/**
 * Decides which release an image must be based on, so that it can run katafleet with this machine's Node and packages. On Debian it is
 * this machine's release, because programs compiled here run there; on other systems it is the oldest one. If Node comes from Debian's
 * packages, which need dozens of libraries, the image installs the same packages.
 * @throws build.failed for a Node that no image can run
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
    hint: 'use a Node from https://nodejs.org, with npm ci again; or build the image on Debian 13 or later, where Node may come from apt',
  });

function isLater(version: string, than: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const [thanMajor = 0, thanMinor = 0] = than.split('.').map(Number);
  return major > thanMajor || (major === thanMajor && minor > thanMinor);
}

/** Returns the Debian release in the text of an os-release(5) file. Debian's derivatives have other ids. */
export function debianRelease(text: string): HostNode['debian'] {
  const value = (key: string) => new RegExp(`^${key}="?([\\w.]*)"?$`, 'm').exec(text)?.[1];
  const [suite, version] = [value('VERSION_CODENAME'), Number(value('VERSION_ID'))];
  return value('ID') === 'debian' && suite !== undefined && /^[a-z]+$/.test(suite) && version > 0 ? { suite, version } : undefined;
}

/** Returns the facts of this machine and of the Node that runs this process. */
export async function hostNode(): Promise<HostNode> {
  // Without this flag, the report looks up the names of all open connections. The types lack it.
  const reporter = Object.assign(process.report, { excludeNetwork: true });
  const report = reporter.getReport() as unknown as { header: { glibcVersionCompiler?: string }; sharedObjects: string[] };
  return {
    path: realpathSync(process.execPath),
    debian: debianRelease(await readFile('/etc/os-release', 'utf8').catch(() => '')), // a system without this file is not Debian
    // Native packages, which are loaded by now, come with the project.
    libraries: report.sharedObjects.filter((library) => !library.endsWith('.node')),
    glibc: report.header.glibcVersionCompiler,
  };
}

/** Returns why this machine cannot build katafleet's own image, or undefined if it can. `doctor` reports it in advance. */
export async function hostNodeFault(): Promise<KatafleetError | undefined> {
  try {
    planNode(await hostNode());
    return undefined;
  } catch (error) {
    if (error instanceof KatafleetError) return error;
    throw error;
  }
}
