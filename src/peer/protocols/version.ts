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
 *                        leafList (32), ifNewest?, ifBytes?, path?, note?}
 *                                                                        {ticket: envelope}
 * renew          write  {blob, version}                                  {leaseUntilMs}
 * commit         write  {blob, version}                                  {}
 * waitPublished  read   {blob, version, waitMs}                          {summary?}
 * latest         read   {blob}                                           {summary?}
 * newest         read   {blob}                                           {version, bytes}
 * history        read   {blob, after: version}                     {versions: [SUMMARY…], isCut}
 * record         read   {blob, version}                                  {record: envelope}
 * retire         write  {blob, version}                                  {}
 * lookup         read   {path}                                           {entry?}
 * list           read   {path, after?: name, limit}                      {entries: [ENTRY…], isCut}
 * makeDirectory  write  {path, parents}                                  {}
 * reserve        write  {path, chunkBytes, replicas, sizeHint?}          DESCRIPTION
 * remove         write  {path, kind: 'file'|'directory'|'any'}           {}
 * rename         write  {from, to}                                       {}
 *
 * DESCRIPTION  {blob, chunkBytes, replicas, createdMs}
 * SUMMARY      {version, bytes, timeMs, note, condition}
 * ENTRY        {kind: 'directory', path, modifiedMs}
 *              | {kind: 'file', path, blob, version, bytes, modifiedMs}
 * envelope     byte string: a signed envelope (metadata/signed.ts) around a ticket or a
 *              version record
 * blob         text of 64 hexadecimal digits; `leafList` a byte string of 32
 * ```
 *
 * `writer` must be the peer that asks, and only it may renew and commit. `waitPublished` is a long
 * request: it is answered without a summary after `waitMs` (at most 60,000), and the client asks
 * again. `history` and `list` cut their answers to 1 MiB; `isCut` says that more come after the
 * last one.
 */
import { z } from 'zod'
import { MIB } from '../../lib/bytes.ts'
import { MAX_SIGNED_PAYLOAD_BYTES } from '../../metadata/signed.ts'
import { boundedBytes, boundedText, naturalNumber } from '../codec.ts'
import { defineMethod, type MethodShape, RPC_OVERHEAD_BYTES, type RpcMethod } from '../rpc.ts'
import type { ProtocolSpec } from '../types.ts'
import { blobIdSchema, chunkIdSchema, emptySchema, peerIdSchema } from './schemas.ts'

const MAX_BODY_BYTES = MAX_SIGNED_PAYLOAD_BYTES + 64 * 1024 - RPC_OVERHEAD_BYTES

/** Bytes of entries or summaries in one answer, about. */
export const MAX_PAGE_BYTES = MIB

/** Longest time that one `waitPublished` request is held. */
export const MAX_WAIT_MS = 60_000

/** Ranges that one ticket request may name. */
const MAX_RANGES = 4096

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

const assignSchema = z.object({
  blob: blobIdSchema,
  writer: peerIdSchema,
  ranges: z.array(z.tuple([naturalNumber, naturalNumber])).max(MAX_RANGES),
  endBytes: naturalNumber,
  truncates: z.boolean(),
  leafList: chunkIdSchema,
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
  condition: z.enum(['assigned', 'committed', 'published', 'retired'])
})

const entrySchema = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('directory'), path: pathSchema, modifiedMs: naturalNumber }),
  z.object({
    kind: z.literal('file'),
    path: pathSchema,
    blob: blobIdSchema,
    version: naturalNumber,
    bytes: naturalNumber,
    modifiedMs: naturalNumber
  })
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
  waitPublished: method(
    'waitPublished',
    versionSchema.extend({ waitMs: naturalNumber }),
    z.object({ summary: summarySchema.optional() }),
    { isLong: true }
  ),
  latest: method('latest', blobSchema, z.object({ summary: summarySchema.optional() })),
  newest: method('newest', blobSchema, z.object({ version: naturalNumber, bytes: naturalNumber })),
  history: method(
    'history',
    blobSchema.extend({ after: naturalNumber }),
    z.object({ versions: z.array(summarySchema), isCut: z.boolean() })
  ),
  // Sealing a large version takes its time when nobody has asked for it yet.
  record: method('record', versionSchema, z.object({ record: envelopeSchema }), {
    timeoutMs: 120_000,
    isLong: true
  }),
  retire: method('retire', versionSchema, emptySchema),
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
  remove: method(
    'remove',
    z.object({ path: pathSchema, kind: z.enum(['file', 'directory', 'any']) }),
    emptySchema
  ),
  rename: method('rename', z.object({ from: pathSchema, to: pathSchema }), emptySchema)
}
