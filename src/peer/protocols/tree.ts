/**
 * `/blobswarm/tree/1`: tree nodes, content-addressed pages and named records of the metadata
 * providers. Requests and answers as rpc.ts draws them; messages are under 4 MiB. Bodies in CBOR:
 *
 * ```text
 * method           right  request                                           answer
 * getNodes         read   {keys: [node key (45)…]}                          {nodes: [node | null…]}
 * getProvenNodes   read   {keys: [node key (45)…]}
 *                                                           {proofs: [PROOF…], nodes: [PROVEN | null…]}
 * getPaths         read   {paths: [{from: node key, to: [[offset, span]…]}…]}
 *                                                      {proofs: [PROOF…], nodes: [{key, node, proof}…]}
 * putNodes         write  {ticket: envelope, proof: envelope, nodes: batch} {}
 * getPages         read   {ids: [page id (32)…]}                            {pages: [bytes | null…]}
 * putPages         write  {pages: [{id, bytes}…]}                           {}
 * getRecords       read   {names: [text…]}                                  {records: [RECORD | null…]}
 * putRecords       write  {records: [RECORD…]}                              {}
 * lacking          read   {kind: KIND, keys: [key…]}                        {lacking: [bool…]}
 * behind           read   {records: [{name, sequence}…]}                    {behind: [bool…]}
 * scan             read   {kind: KIND, after?, prefix?, limit?}             {keys: [key…]}
 * beginCollection  write  {}                                                {collection: text}
 * unleased         write  {collection, kind: KIND, after?, prefix?, limit?} {keys: [key…]}
 * nodeVersions     write  {collection, after?: VERSION}                     {versions: [VERSION…]}
 * collect          write  {kind: KIND, order: envelope}                     {count, bytes}
 *
 * RECORD     {name, sequence, purpose: 'version-record'|'location'|'path', envelope}
 * PROOF      {ticket: envelope, proof: envelope}
 * PROVEN     {node, proof: index into proofs}
 * KIND       'nodes'|'pages'|'records'
 * VERSION    {blob: text, version}
 * key        byte string: node key (45), page id (32) or name of a record in UTF-8
 * node key, node, batch   byte strings as metadata/node-codec.ts draws them
 * envelope   byte string: a signed envelope (metadata/signed.ts)
 * ```
 *
 * A get asks for at most 1,024 things. Its answer stands for the first of them: at least one, and
 * as many as fit into 1 MiB; the client asks again for the rest. `null` says that it is not there.
 * `getPaths` goes down from nodes to places inside each, which are sorted and disjoint and at most
 * 1,024 in all. It answers with nodes on the way, those at the places not among them: as many as the
 * provider has from each start on without a gap, at most 1,024 and about 1 MiB, each behind the one
 * above it.
 *
 * A put carries at most 8,192 nodes, 1,024 pages or 1,024 records, and is answered when they are
 * durable. The proof lists the digests of a larger batch that these nodes were cut from
 * (metadata/tickets.ts). Metadata providers and provider managers may put with the right to read
 * alone: that is how the ones hand over what they keep, and the others correct location records.
 *
 * `scan` is answered to provider managers only: keys in order, fewer than the limit when there are
 * no more. That is how repair finds all location records.
 *
 * The four methods of collection are answered to version managers only; `collect` deletes what an
 * order names (retirement-order.ts), as far as it has no lease.
 */
import { z } from 'zod'
import { KIB, MIB } from '../../lib/bytes.ts'
import { MAX_RECORD_NAME_BYTES } from '../../metadata/metadata-keys.ts'
import { NODE_KEY_BYTES } from '../../metadata/node-codec.ts'
import { decodeEnvelope, encodeEnvelope } from '../../metadata/signed.ts'
import type { NamedRecord } from '../../metadata/store-types.ts'
import { boundedBytes, boundedText, exactBytes, naturalNumber } from '../codec.ts'
import { defineMethod, RPC_OVERHEAD_BYTES } from '../rpc.ts'
import type { ProtocolSpec } from '../types.ts'
import { blobIdSchema, chunkIdSchema, emptySchema } from './schemas.ts'

const MAX_BODY_BYTES = 4 * MIB - 64 * KIB

/** Things that one get may ask for, and pages or records that one put may carry. */
export const MAX_TREE_ITEMS = 1024

/** Bytes of nodes, pages or records in one message, about; a single one may be larger. */
export const MAX_TREE_PAYLOAD_BYTES = MIB

/** Bytes of nodes beside their proof, about. */
export const MAX_NODE_PAYLOAD_BYTES = 512 * KIB

/** Id and limits of the protocol. */
export const TREE_PROTOCOL: ProtocolSpec = {
  id: '/blobswarm/tree/1',
  maxMessageBytes: MAX_BODY_BYTES + RPC_OVERHEAD_BYTES,
  maxStreams: 8
}

const bytesSchema = boundedBytes(MAX_BODY_BYTES)

const recordSchema = z.object({
  name: boundedText(256).min(1),
  sequence: naturalNumber,
  purpose: z.enum(['version-record', 'location', 'path']),
  envelope: bytesSchema
})

/** A record as it travels. */
export type WireRecord = z.infer<typeof recordSchema>

/** @throws {RangeError} for a record of another purpose than this store takes. */
export function packRecord({ name, sequence, purpose, envelope }: NamedRecord): WireRecord {
  if (purpose !== 'version-record' && purpose !== 'location' && purpose !== 'path') {
    throw new RangeError(`no record is signed for the purpose ${purpose}`)
  }
  return { name, sequence, purpose, envelope: encodeEnvelope(envelope) }
}

/** @throws {MalformedError} */
export function unpackRecord({ envelope, ...record }: WireRecord): NamedRecord {
  return { ...record, envelope: decodeEnvelope(envelope) }
}

const maxBytes = MAX_BODY_BYTES

const nodeKeysSchema = z.array(exactBytes(NODE_KEY_BYTES)).min(1).max(MAX_TREE_ITEMS)
const proofSchema = z.object({ ticket: bytesSchema, proof: bytesSchema })
const placeSchema = z.tuple([naturalNumber, naturalNumber.min(1)])
const pathSchema = z.object({
  from: exactBytes(NODE_KEY_BYTES),
  to: z.array(placeSchema).min(1).max(MAX_TREE_ITEMS)
})
const kindSchema = z.enum(['nodes', 'pages', 'records'])
const keySchema = boundedBytes(MAX_RECORD_NAME_BYTES)
const nameSchema = boundedText(256).min(1)
const collectionSchema = boundedText(200)
const versionSchema = z.object({ blob: blobIdSchema, version: naturalNumber })
const answersSchema = z.array(z.boolean()).min(1).max(MAX_TREE_ITEMS)

/** The methods of tree/1, for both ends. */
export const treeMethods = {
  getNodes: defineMethod('getNodes', {
    request: z.object({ keys: nodeKeysSchema }),
    answer: z.object({ nodes: z.array(bytesSchema.nullable()).min(1).max(MAX_TREE_ITEMS) }),
    maxBytes
  }),
  getProvenNodes: defineMethod('getProvenNodes', {
    request: z.object({ keys: nodeKeysSchema }),
    answer: z.object({
      proofs: z.array(proofSchema).max(MAX_TREE_ITEMS),
      nodes: z
        .array(z.object({ node: bytesSchema, proof: naturalNumber }).nullable())
        .min(1)
        .max(MAX_TREE_ITEMS)
    }),
    maxBytes
  }),
  getPaths: defineMethod('getPaths', {
    request: z.object({ paths: z.array(pathSchema).min(1).max(MAX_TREE_ITEMS) }),
    answer: z.object({
      proofs: z.array(proofSchema).max(MAX_TREE_ITEMS),
      nodes: z
        .array(
          z.object({ key: exactBytes(NODE_KEY_BYTES), node: bytesSchema, proof: naturalNumber })
        )
        .max(MAX_TREE_ITEMS)
    }),
    maxBytes
  }),
  putNodes: defineMethod('putNodes', {
    request: z.object({ ticket: bytesSchema, proof: bytesSchema, nodes: bytesSchema }),
    answer: emptySchema,
    maxBytes
  }),
  getPages: defineMethod('getPages', {
    request: z.object({ ids: z.array(chunkIdSchema).min(1).max(MAX_TREE_ITEMS) }),
    answer: z.object({ pages: z.array(bytesSchema.nullable()).min(1).max(MAX_TREE_ITEMS) }),
    maxBytes
  }),
  putPages: defineMethod('putPages', {
    request: z.object({
      pages: z
        .array(z.object({ id: chunkIdSchema, bytes: bytesSchema }))
        .min(1)
        .max(MAX_TREE_ITEMS)
    }),
    answer: emptySchema,
    maxBytes
  }),
  getRecords: defineMethod('getRecords', {
    request: z.object({ names: z.array(nameSchema).min(1).max(MAX_TREE_ITEMS) }),
    answer: z.object({ records: z.array(recordSchema.nullable()).min(1).max(MAX_TREE_ITEMS) }),
    maxBytes
  }),
  putRecords: defineMethod('putRecords', {
    request: z.object({ records: z.array(recordSchema).min(1).max(MAX_TREE_ITEMS) }),
    answer: emptySchema,
    maxBytes
  }),
  lacking: defineMethod('lacking', {
    request: z.object({
      kind: kindSchema,
      keys: z.array(keySchema).min(1).max(MAX_TREE_ITEMS)
    }),
    answer: z.object({ lacking: answersSchema }),
    maxBytes
  }),
  behind: defineMethod('behind', {
    request: z.object({
      records: z
        .array(z.object({ name: nameSchema, sequence: naturalNumber }))
        .min(1)
        .max(MAX_TREE_ITEMS)
    }),
    answer: z.object({ behind: answersSchema }),
    maxBytes
  }),
  scan: defineMethod('scan', {
    request: z.object({
      kind: kindSchema,
      after: keySchema.optional(),
      prefix: keySchema.optional(),
      limit: naturalNumber.min(1).max(MAX_TREE_ITEMS).optional()
    }),
    answer: z.object({ keys: z.array(keySchema).max(MAX_TREE_ITEMS) }),
    maxBytes
  }),
  beginCollection: defineMethod('beginCollection', {
    request: emptySchema,
    answer: z.object({ collection: collectionSchema }),
    maxBytes
  }),
  unleased: defineMethod('unleased', {
    request: z.object({
      collection: collectionSchema,
      kind: kindSchema,
      after: keySchema.optional(),
      prefix: keySchema.optional(),
      limit: naturalNumber.min(1).max(MAX_TREE_ITEMS).optional()
    }),
    answer: z.object({ keys: z.array(keySchema).max(MAX_TREE_ITEMS) }),
    maxBytes
  }),
  nodeVersions: defineMethod('nodeVersions', {
    request: z.object({ collection: collectionSchema, after: versionSchema.optional() }),
    answer: z.object({ versions: z.array(versionSchema).max(MAX_TREE_ITEMS) }),
    maxBytes
  }),
  collect: defineMethod('collect', {
    request: z.object({ kind: kindSchema, order: bytesSchema }),
    answer: z.object({ count: naturalNumber, bytes: naturalNumber }),
    maxBytes
  })
}
