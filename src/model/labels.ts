/** Every label that katafleet puts on what it creates, in one place. */
export const labels = {
  /** On each container: `sandbox`; in a swarm `server`, `pool`, `secret`, `config`, `network`, `probe`; on a volume `state`. What carries none of ours is never touched. */
  role: 'katafleet.role',
  /** In a swarm: the deployment that it belongs to. */
  stack: 'katafleet.stack',
  /** In a swarm: which key its secrets are derived from, a fingerprint of it. */
  key: 'katafleet.key',
  /** Which process made it, see fleet/owner.ts. */
  owner: 'katafleet.owner',
  /** The name that its owner knows it by. */
  sandbox: 'katafleet.sandbox',
  /** Identity of the journal that its owner keeps, and how often that journal had been opened: of lower numbers nobody lives. */
  fleet: 'katafleet.fleet',
  epoch: 'katafleet.epoch',
  /** Unix ms after which nobody can need it. */
  deadline: 'katafleet.deadline',
  /** Image: SHA-256 of the supervisor inside. */
  supervisor: 'katafleet.supervisor',
  /** Adapted image: id of the image it was made from. */
  adaptedFrom: 'katafleet.adapted-from',
  /** Image: the uids, FIRST-LAST, that its passwd gives the sandbox user's name. */
  uids: 'katafleet.uids',
  /** Image: UID:GID that its programs have to be, because its files are that user's. */
  user: 'katafleet.user',
  /** Image: name of the recipe that it was built from, and a hash of all that went in. */
  recipe: 'katafleet.recipe',
  recipeHash: 'katafleet.recipe-hash',
  /** Image: `yes` on one of a service of katafleet's own, which is not for runs. */
  service: 'katafleet.service',
  /** Image: its rules for the traffic light, JSON of model/lights.ts. */
  lights: 'katafleet.lights',
  /** Image: the command that a run takes where none is given, JSON array. */
  command: 'katafleet.command',
} as const;
