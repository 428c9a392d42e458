/** Every label that katafleet puts on what it creates, in one place. */
export const labels = {
  /**
   * On each container: `sandbox`; in a swarm `server`, `pool`, `secret`, `config`, `network`, `probe`; on a volume `state`. Anything
   * without it is never touched.
   */
  role: 'katafleet.role',
  /** In a swarm: the deployment that it belongs to. */
  stack: 'katafleet.stack',
  /** In a swarm: the fingerprint of the key from which its secrets are derived. */
  key: 'katafleet.key',
  /** Which process made it, see base/process-owner.ts. */
  owner: 'katafleet.owner',
  /** The name that its owner knows it by. */
  sandbox: 'katafleet.sandbox',
  /** On a container that only looks into an image: which look of which process, see drivers/docker/looks.ts. */
  look: 'katafleet.look',
  /** Identity of its owner's journal, and how often that journal had been opened. A lower number belongs to a katafleet that has ended. */
  fleet: 'katafleet.fleet',
  epoch: 'katafleet.epoch',
  /** Unix ms after which it is not needed, by its owner's clock. */
  deadline: 'katafleet.deadline',
  /** How long after its creation it may be needed, ms: its age by the engine's own clock says the same without its owner's clock. */
  lifetime: 'katafleet.lifetime',
  /** The sandbox's memory limit, bytes, for other katafleets on the same machine. */
  memory: 'katafleet.memory',
  /** Image: SHA-256 of the supervisor inside. */
  supervisor: 'katafleet.supervisor',
  /** Adapted image: id of the image it was made from. */
  adaptedFrom: 'katafleet.adapted-from',
  /** Image: the uids, FIRST-LAST, that its passwd gives the sandbox user's name. */
  uids: 'katafleet.uids',
  /** Image: UID:GID as which its programs must run, because its files belong to that user. */
  user: 'katafleet.user',
  /** Image: name of the recipe that it was built from, and a hash of everything that went into it. */
  recipe: 'katafleet.recipe',
  recipeHash: 'katafleet.recipe-hash',
  /** Image: `yes` on an image of katafleet's own services, which is not for runs. */
  service: 'katafleet.service',
  /** Image: its rules for the traffic light, JSON of model/lights.ts. */
  lights: 'katafleet.lights',
  /** Image: the command of a run that gives none, JSON array. */
  command: 'katafleet.command',
} as const;
