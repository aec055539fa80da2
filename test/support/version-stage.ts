import { chunkId, ZERO_CHUNK_ID } from '../../src/chunks/chunk-id.ts'
import { MemoryLogger } from '../../src/lib/logger.ts'
import { type LeafList, LeafListBuilder } from '../../src/metadata/leaf-list.ts'
import { encodeLeafList } from '../../src/metadata/leaf-list-codec.ts'
import type { SignedTicket, TicketRequest } from '../../src/metadata/ticket-types.ts'
import { proveNodes } from '../../src/metadata/tickets.ts'
import { readExtents } from '../../src/metadata/tree-read.ts'
import { weaveNodes } from '../../src/metadata/tree-write.ts'
import type { BlobId, Version } from '../../src/metadata/types.ts'
import { ManualClock } from './manual-clock.ts'
import {
  startTestRepository,
  type TestRepository,
  type TestRepositoryOptions
} from './repository.ts'

export const CHUNK_BYTES = 65_536
export const LEASE_MS = 30_000
export const CREATE = { chunkBytes: CHUNK_BYTES, replicas: 1 }

/** A version manager with all that it needs, on a clock of the test's. */
export interface VersionStage extends TestRepository {
  readonly clock: ManualClock
  readonly log: MemoryLogger
}

const started: VersionStage[] = []

/** Starts a version manager; `stopStages` ends it. */
export async function startStage(
  options: TestRepositoryOptions = {},
  clock = new ManualClock()
): Promise<VersionStage> {
  const log = new MemoryLogger()
  const repository = await startTestRepository({ clock, logger: log, ...options })
  const stage: VersionStage = { ...repository, clock, log }
  started.push(stage)
  return stage
}

/** Stops all that a test has started, and removes its folders. For `afterEach`. */
export async function stopStages(): Promise<void> {
  for (const stage of started.splice(0)) await stage.stop()
}

/** Stops the version manager and starts another one over what it left. */
export async function restart(stage: VersionStage): Promise<VersionStage> {
  await stage.stop({ keepFolder: true })
  return await startStage({ stores: 'disk', folder: stage.folder }, stage.clock)
}

/** A leaf list of whole chunks at these indexes. */
export function leaves(...indexes: number[]): LeafList {
  const builder = new LeafListBuilder()
  for (const index of indexes) {
    const chunk = chunkId(Buffer.from(`chunk ${index}`))
    const replicas = ['provider-1']
    builder.add(index, { at: 0, length: CHUNK_BYTES, chunk, chunkOffset: 0, replicas })
  }
  return builder.build()
}

/** Asks a ticket for a leaf list, which is stored first. */
export async function assign(
  { metadata, versions, signer }: VersionStage,
  blob: BlobId,
  list: LeafList,
  fields: Partial<TicketRequest> = {}
): Promise<SignedTicket> {
  const pages = Array.from(encodeLeafList(list))
  await metadata.putPages(pages)
  return await versions.assign({
    blob,
    writer: signer.peerId,
    ranges: list.ranges(),
    endBytes: list.endBytes(CHUNK_BYTES),
    truncates: false,
    leafList: pages.at(-1)?.id ?? ZERO_CHUNK_ID,
    ...fields
  })
}

/** Weaves a version and stores its nodes. */
export async function putTree(
  { metadata, signer }: VersionStage,
  signed: SignedTicket,
  list: LeafList
) {
  for await (const nodes of weaveNodes(signed.ticket, list, metadata)) {
    await metadata.putNodes(nodes, proveNodes(signer, signed.envelope, nodes))
  }
}

/** Writes a version from ticket to commit. */
export async function publish(
  stage: VersionStage,
  blob: BlobId,
  list: LeafList,
  fields: Partial<TicketRequest> = {}
): Promise<Version> {
  const signed = await assign(stage, blob, list, fields)
  await putTree(stage, signed, list)
  await stage.versions.commit(blob, signed.ticket.version)
  return signed.ticket.version
}

/** Chunk indexes that have data in a version. */
export async function chunksOf(
  { metadata }: VersionStage,
  signed: SignedTicket
): Promise<number[]> {
  const { blob, version, span, bytes } = signed.ticket
  const snapshot = { root: { blob, version, span }, bytes, chunkBytes: CHUNK_BYTES }
  const extents = await readExtents(metadata, snapshot, { offset: 0, length: bytes })
  const full = extents.filter(({ chunk }) => chunk !== undefined)
  return full.map(({ offset }) => offset / CHUNK_BYTES)
}
