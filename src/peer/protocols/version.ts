/**
 * `/blobswarm/version/1`: writers and readers ask the version manager. Requests and answers as
 * rpc.ts draws them; messages are at most 3 MiB and 64 KiB. Bodies in CBOR, `?` marks what may be
 * absent:
 *
 * ```text
 * method         right  request                                          answer
 * createBlob     write  {chunkBytes, replicas, sizeHint?}                DESCRIPTION
 * describe       read   {blob}                                           {description?}
 * assign         write  {blob, writer, ranges: [[start, end]…], endBytes, truncates,
 *                        leafList (32), leafPages?: [bytes…], ifNewest?, ifBytes?, path?, note?}
 *                                                                        {ticket: envelope}
 * renew          write  {blob, version}                                  {leaseUntilMs}
 * commit         write  {blob, version}                                  {}
 * finish         write  {blob, version, waitMs}                          {summary?}
 * waitPublished  read   {blob, version, waitMs}                          {summary?}
 * latest         read   {blob}                                           {summary?}
 * sealed         read   {blob}                                           {record?: envelope}
 * newest         read   {blob}                                           {version, bytes}
 * history        read   {blob, after?: version}                    {versions: [SUMMARY…], isCut}
 * record         read   {blob, version}                                  {record: envelope}
 * retire         write  {blob, version}                                  {}
 * hold           read   {blob, version, holder, purpose, forMs}          {untilMs}
 * release        read   {blob, version, holder, purpose}                 {}
 * setPinned      admin  {blob, version, isPinned}                        {}
 * lookup         read   {path}                                           {entry?}
 * list           read   {path, after?: name, limit}                      {entries: [ENTRY…], isCut}
 * makeDirectory  write  {path, parents}                                  {}
 * reserve        write  {path, chunkBytes, replicas, sizeHint?}          DESCRIPTION
 * isFree         read   {path}                                           {isFree}
 * publishFile    write  {path, chunkBytes, replicas, sizeHint?, writer, endBytes,
 *                        leafList (32), leafPages: [bytes…], note?}      {summary?}
 * remove         write  {path, kind: 'file'|'directory'|'any'}           {}
 * rename         write  {from, to}                                       {}
 * clone          write  {blob, version, path}                            {entry}
 * setModified    write  {path, modifiedMs}                               {}
 * usage          read   {path}                                           {bytes}
 * setRetention   admin  {path, policy?}                                  {}
 * retention      read   {path}                                           {policy, setFor?: path}
 * collect        admin  {isDryRun}                                       {report}
 *
 * DESCRIPTION  {blob, chunkBytes, replicas, createdMs}
 * SUMMARY      {version, bytes, timeMs, note, condition, isPinned}
 * ENTRY        {kind: 'directory', path, modifiedMs}
 *              | {kind: 'file', path, blob, version, bytes, modifiedMs}
 * policy       {last?, youngerMs?}
 * report       {isDryRun, retiredVersions, forgottenBlobs, chunks: COLLECTED, nodes: COLLECTED,
 *               pages: COLLECTED, records: COLLECTED, liveChunks, missed: [provider…], seconds}
 * COLLECTED    {count, bytes}
 * envelope     byte string: a signed envelope (metadata/signed.ts) around a ticket or a
 *              version record
 * blob         text of 64 hexadecimal digits; `leafList` a byte string of 32
 * ```
 *
 * `writer` and `holder` must be the peer that asks, and only the writer may renew and commit.
 * `finish` is `commit` and then `waitPublished`. These two are long requests: they are answered
 * without a summary after `waitMs` (at most 60,000), and the client asks again (`waitPublished`).
 * `record` and `collect` are long too: sealing and collecting take up to two minutes and an hour.
 * `history` and `list` cut their answers to 1 MiB; `isCut` says that more come after the last one.
 */
import { z } from 'zod'
import { MIB } from '../../lib/bytes.ts'
import { MAX_SIGNED_PAYLOAD_BYTES } from '../../metadata/signed.ts'
import { MAX_LEAF_PAGE_BYTES, MAX_LEAF_PAGES } from '../../metadata/version-requests.ts'
import { boundedBytes, boundedText, naturalNumber } from '../codec.ts'
import { defineMethod, type MethodShape, RPC_OVERHEAD_BYTES, type RpcMethod } from '../rpc.ts'
import type { ProtocolSpec } from '../types.ts'
import { blobIdSchema, chunkIdSchema, emptySchema, peerIdSchema } from './schemas.ts'

const MAX_BODY_BYTES = MAX_SIGNED_PAYLOAD_BYTES + 64 * 1024 - RPC_OVERHEAD_BYTES

/** Bytes of entries or summaries in one answer, about. */
export const MAX_PAGE_BYTES = MIB

/** Longest time that one `finish` or `waitPublished` request is held. */
export const MAX_WAIT_MS = 60_000

/** Ranges that one ticket request may name. */
const MAX_RANGES = 4096

/** Versions in one answer to `history`, whatever their notes. */
export const MAX_PAGE_VERSIONS = 8192

/** Time for the answer to `collect`. */
const MAX_COLLECT_MS = 3_600_000

/** Providers that a report names; more cannot be missed, because there are not more. */
export const MAX_MISSED = 10_000

/** Id and limits of the protocol. */
export const VERSION_PROTOCOL: ProtocolSpec = {
  id: '/blobswarm/version/1',
  maxMessageBytes: MAX_BODY_BYTES + RPC_OVERHEAD_BYTES,
  maxStreams: 8
}

const pathSchema = boundedText(4096)
const blobSchema = z.object({ blob: blobIdSchema })
const versionSchema = z.object({ blob: blobIdSchema, version: naturalNumber })
const envelopeSchema = boundedBytes(MAX_BODY_BYTES)

const createSchema = z.object({
  chunkBytes: naturalNumber,
  replicas: naturalNumber,
  sizeHint: naturalNumber.optional()
})

const descriptionSchema = z.object({
  blob: blobIdSchema,
  chunkBytes: naturalNumber,
  replicas: naturalNumber,
  createdMs: naturalNumber
})

const leafPagesSchema = z.array(boundedBytes(MAX_LEAF_PAGE_BYTES)).max(MAX_LEAF_PAGES)

const assignSchema = z.object({
  blob: blobIdSchema,
  writer: peerIdSchema,
  ranges: z.array(z.tuple([naturalNumber, naturalNumber])).max(MAX_RANGES),
  endBytes: naturalNumber,
  truncates: z.boolean(),
  leafList: chunkIdSchema,
  leafPages: leafPagesSchema.optional(),
  ifNewest: naturalNumber.optional(),
  ifBytes: naturalNumber.optional(),
  path: pathSchema.optional(),
  note: boundedText(4096).optional()
})

const summarySchema = z.object({
  version: naturalNumber,
  bytes: naturalNumber,
  timeMs: naturalNumber,
  note: boundedText(4096),
  condition: z.enum(['assigned', 'committed', 'published', 'retired']),
  isPinned: z.boolean()
})

const holdSchema = versionSchema.extend({ holder: peerIdSchema, purpose: boundedText(1024).min(1) })

const policySchema = z.object({
  last: naturalNumber.optional(),
  youngerMs: naturalNumber.optional()
})

const collectedSchema = z.object({ count: naturalNumber, bytes: naturalNumber })

const reportSchema = z.object({
  isDryRun: z.boolean(),
  retiredVersions: naturalNumber,
  forgottenBlobs: naturalNumber,
  chunks: collectedSchema,
  nodes: collectedSchema,
  pages: collectedSchema,
  records: collectedSchema,
  liveChunks: naturalNumber,
  missed: z.array(peerIdSchema).max(MAX_MISSED),
  seconds: z.number().nonnegative()
})

const fileSchema = z.object({
  kind: z.literal('file'),
  path: pathSchema,
  blob: blobIdSchema,
  version: naturalNumber,
  bytes: naturalNumber,
  modifiedMs: naturalNumber
})

const entrySchema = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('directory'), path: pathSchema, modifiedMs: naturalNumber }),
  fileSchema
])

function method<Q extends z.ZodType, A extends z.ZodType>(
  name: string,
  request: Q,
  answer: A,
  more: Partial<MethodShape<Q, A>> = {}
): RpcMethod<z.infer<Q>, z.infer<A>> {
  return defineMethod(name, { request, answer, maxBytes: MAX_BODY_BYTES, ...more })
}

/** The methods of version/1, for both ends. */
export const versionMethods = {
  createBlob: method('createBlob', createSchema, descriptionSchema),
  describe: method('describe', blobSchema, z.object({ description: descriptionSchema.optional() })),
  assign: method('assign', assignSchema, z.object({ ticket: envelopeSchema })),
  renew: method('renew', versionSchema, z.object({ leaseUntilMs: naturalNumber })),
  commit: method('commit', versionSchema, emptySchema),
  finish: method(
    'finish',
    versionSchema.extend({ waitMs: naturalNumber }),
    z.object({ summary: summarySchema.optional() }),
    { isLong: true }
  ),
  waitPublished: method(
    'waitPublished',
    versionSchema.extend({ waitMs: naturalNumber }),
    z.object({ summary: summarySchema.optional() }),
    { isLong: true }
  ),
  latest: method('latest', blobSchema, z.object({ summary: summarySchema.optional() })),
  sealed: method('sealed', blobSchema, z.object({ record: envelopeSchema.optional() })),
  newest: method('newest', blobSchema, z.object({ version: naturalNumber, bytes: naturalNumber })),
  history: method(
    'history',
    blobSchema.extend({ after: naturalNumber.optional() }),
    z.object({ versions: z.array(summarySchema), isCut: z.boolean() })
  ),
  // Sealing a large version takes its time when nobody has asked for it yet.
  record: method('record', versionSchema, z.object({ record: envelopeSchema }), {
    timeoutMs: 120_000,
    isLong: true
  }),
  retire: method('retire', versionSchema, emptySchema),
  hold: method(
    'hold',
    holdSchema.extend({ forMs: naturalNumber }),
    z.object({ untilMs: naturalNumber })
  ),
  release: method('release', holdSchema, emptySchema),
  setPinned: method('setPinned', versionSchema.extend({ isPinned: z.boolean() }), emptySchema),
  lookup: method(
    'lookup',
    z.object({ path: pathSchema }),
    z.object({ entry: entrySchema.optional() })
  ),
  list: method(
    'list',
    z.object({ path: pathSchema, after: pathSchema.optional(), limit: naturalNumber }),
    z.object({ entries: z.array(entrySchema), isCut: z.boolean() })
  ),
  makeDirectory: method(
    'makeDirectory',
    z.object({ path: pathSchema, parents: z.boolean() }),
    emptySchema
  ),
  reserve: method('reserve', createSchema.extend({ path: pathSchema }), descriptionSchema),
  isFree: method('isFree', z.object({ path: pathSchema }), z.object({ isFree: z.boolean() })),
  publishFile: method(
    'publishFile',
    createSchema.extend({
      path: pathSchema,
      writer: peerIdSchema,
      endBytes: naturalNumber,
      leafList: chunkIdSchema,
      leafPages: leafPagesSchema,
      note: boundedText(4096).optional()
    }),
    z.object({ summary: summarySchema.optional() })
  ),
  remove: method(
    'remove',
    z.object({ path: pathSchema, kind: z.enum(['file', 'directory', 'any']) }),
    emptySchema
  ),
  rename: method('rename', z.object({ from: pathSchema, to: pathSchema }), emptySchema),
  clone: method(
    'clone',
    versionSchema.extend({ path: pathSchema }),
    z.object({ entry: fileSchema })
  ),
  setModified: method(
    'setModified',
    z.object({ path: pathSchema, modifiedMs: naturalNumber }),
    emptySchema
  ),
  usage: method('usage', z.object({ path: pathSchema }), z.object({ bytes: naturalNumber })),
  setRetention: method(
    'setRetention',
    z.object({ path: pathSchema, policy: policySchema.optional() }),
    emptySchema
  ),
  retention: method(
    'retention',
    z.object({ path: pathSchema }),
    z.object({ policy: policySchema, setFor: pathSchema.optional() })
  ),
  collect: method(
    'collect',
    z.object({ isDryRun: z.boolean() }),
    z.object({ report: reportSchema }),
    { timeoutMs: MAX_COLLECT_MS, isLong: true }
  )
}
