import type { moverMethods } from './protocols/mover.ts'
import type { providersMethods } from './protocols/providers.ts'
import type { StoreRequest } from './protocols/store.ts'
import type { treeMethods } from './protocols/tree.ts'
import type { versionMethods } from './protocols/version.ts'
import type { Member, Right, Role } from './types.ts'

/**
 * What a certificate must give for something: one of the alternatives, and of that everything.
 * Rights and roles have different names.
 */
export type Permission = readonly (readonly (Right | Role)[])[]

/** Which member may use a protocol at all. Everybody who is none may say hello, and nothing else. */
export const PROTOCOL_PERMISSIONS: Readonly<Record<string, Permission>> = {
  '/blobswarm/version/1': [['read']],
  '/blobswarm/tree/1': [['read']],
  '/blobswarm/providers/1': [['read']],
  '/blobswarm/store/1': [['read']],
  '/blobswarm/swarm/1': [['read']],
  '/blobswarm/mover/1': [['gridftp']]
}

const READ: Permission = [['read']]
const WRITE: Permission = [['write']]
const ADMIN: Permission = [['admin']]

/** Metadata providers hand over what they keep, and the provider manager corrects location records. */
const KEEP: Permission = [['write'], ['metadata'], ['providerManager']]

/** A collection of somebody else would end the version manager's. */
const COLLECT: Permission = [['write', 'versionManager']]

/**
 * Methods of version/1. Besides, only the writer of a version may renew, commit and finish it, and a
 * hold is for its asker.
 */
export const VERSION_PERMISSIONS: Readonly<Record<keyof typeof versionMethods, Permission>> = {
  createBlob: WRITE,
  describe: READ,
  assign: WRITE,
  renew: WRITE,
  commit: WRITE,
  finish: WRITE,
  waitPublished: READ,
  latest: READ,
  sealed: READ,
  newest: READ,
  history: READ,
  record: READ,
  retire: WRITE,
  hold: READ,
  release: READ,
  setPinned: ADMIN,
  lookup: READ,
  list: READ,
  makeDirectory: WRITE,
  reserve: WRITE,
  isFree: READ,
  publishFile: WRITE,
  remove: WRITE,
  rename: WRITE,
  clone: WRITE,
  setModified: WRITE,
  usage: READ,
  setRetention: ADMIN,
  retention: READ,
  collect: ADMIN
}

/** Methods of tree/1. Besides, whatever is put carries its proof, and orders are signed. */
export const TREE_PERMISSIONS: Readonly<Record<keyof typeof treeMethods, Permission>> = {
  getNodes: READ,
  getProvenNodes: READ,
  getPaths: READ,
  putNodes: KEEP,
  getPages: READ,
  putPages: KEEP,
  getRecords: READ,
  putRecords: KEEP,
  lacking: READ,
  behind: READ,
  scan: [['read', 'providerManager']],
  beginCollection: COLLECT,
  unleased: COLLECT,
  nodeVersions: COLLECT,
  collect: COLLECT
}

/** Methods of providers/1. Besides, a report is about its sender. */
export const PROVIDERS_PERMISSIONS: Readonly<Record<keyof typeof providersMethods, Permission>> = {
  report: [['read', 'provider']],
  place: WRITE,
  reportFailure: READ,
  list: READ,
  setDraining: ADMIN,
  repairFigures: READ
}

/** Requests of store/1. Besides, orders are signed. */
export const STORE_PERMISSIONS: Readonly<
  Record<Exclude<StoreRequest['kind'], 'part' | 'cancel'>, Permission>
> = {
  put: WRITE,
  has: READ,
  get: READ,
  holds: READ,
  check: READ,
  copy: [['write'], ['providerManager'], ['versionManager']],
  begin: [['versionManager']],
  list: [['versionManager']],
  collect: [['versionManager']],
  trim: [['providerManager']]
}

/** Methods of mover/1. */
export const MOVER_PERMISSIONS: Readonly<Record<keyof typeof moverMethods, Permission>> = {
  open: READ,
  listen: WRITE,
  connect: READ,
  receive: WRITE,
  checkpoint: WRITE,
  leaves: WRITE,
  send: READ,
  progress: READ,
  ensure: WRITE,
  release: WRITE
}

/** Tells whether a member's certificate gives one of the alternatives. */
export function permits(permission: Permission, { roles, rights }: Member): boolean {
  const has = new Set<string>([...roles, ...rights])
  return permission.some((needs) => needs.every((need) => has.has(need)))
}

/** Tells whether a member may use a protocol at all. */
export function permitsProtocol(protocol: string, member: Member): boolean {
  const permission = PROTOCOL_PERMISSIONS[protocol]
  return permission === undefined || permits(permission, member)
}

/** `the right to write or the role metadata`. */
export function formatPermission(permission: Permission): string {
  return permission
    .map((needs) =>
      needs.map((need) => (isRight(need) ? `the right to ${need}` : `the role ${need}`))
    )
    .map((needs) => needs.join(' and '))
    .join(' or ')
}

function isRight(need: Right | Role): need is Right {
  return need === 'read' || need === 'write' || need === 'admin'
}
