/**
 * `/blobswarm/providers/1`: providers and writers talk to the provider manager. Requests and
 * answers as rpc.ts draws them; messages are at most 1 MiB. Bodies in CBOR:
 *
 * ```text
 * method         right  request                                     answer
 * report         read   {report: REPORT, addresses: [text…]}        {isDraining}
 * place          write  {count, chunkBytes, replicas, exclude: [id…], beside: [id…], stripe?}
 *                                               {providers: [PEER…], placements: [[index…]…]}
 * reportFailure  read   {id, reason: 'failed'|'full'}               {}
 * list           read   {after?: id}                                {providers: [STATE…], isCut}
 * setDraining    admin  {id, isDraining}                            {provider: STATE}
 * repairFigures  read   {}                                          {figures: FIGURES | null}
 *
 * REPORT  {id, zone, freeBytes, storedBytes, chunkCount, load, isDraining, version, latencyMs,
 *          lostCount}
 * PEER    {id, addresses: [text…]}
 * STATE   REPORT and {condition: 'live'|'suspect'|'dead', seenMs, addresses: [text…]}
 * FIGURES {replicas, chunks, underReplicated, unreachable, surplus, isCurrent, lookedMs, pending,
 *          copiedChunks, copiedBytes, failedCopies, trimmedChunks}
 * id      peer id in text form
 * ```
 *
 * A report must come from the provider itself, whose certificate gives it that role; it registers
 * the provider and is its heartbeat. The provider drains from then on, or does not, as the answer
 * says. Entry i of `placements` lists where chunk i goes as indexes into `providers`, none of which
 * is excluded or `beside`; at most 1,024 chunks a request. Addresses are full multiaddrs, at most 16 a
 * provider; they are what the provider last reported, and left out of an answer that would grow too
 * long. `list` is in order of ids; the next one begins `after` the last of a cut one.
 */
import { z } from 'zod'
import { MIB } from '../../lib/bytes.ts'
import { boundedText, naturalNumber } from '../codec.ts'
import { addressesSchema } from '../metadata-list.ts'
import { defineMethod, RPC_OVERHEAD_BYTES } from '../rpc.ts'
import type { ProtocolSpec } from '../types.ts'
import { emptySchema, peerIdSchema } from './schemas.ts'

const MAX_BODY_BYTES = MIB - RPC_OVERHEAD_BYTES

/** Chunks that one `place` may ask for. */
export const MAX_PLACE_COUNT = 1024

/** Replicas that one chunk may be asked to have. */
export const MAX_PLACE_REPLICAS = 16

/** Providers of one answer to `list`. */
export const MAX_LISTED_PROVIDERS = 500

/** Providers that a placement may exclude, or be beside; a longer list is cut by the client. */
export const MAX_EXCLUDED = 256

/** Id and limits of the protocol. */
export const PROVIDERS_PROTOCOL: ProtocolSpec = {
  id: '/blobswarm/providers/1',
  maxMessageBytes: MAX_BODY_BYTES + RPC_OVERHEAD_BYTES,
  maxStreams: 8
}

const reportSchema = z.object({
  id: peerIdSchema,
  zone: boundedText(128),
  freeBytes: naturalNumber,
  storedBytes: naturalNumber,
  chunkCount: naturalNumber,
  load: naturalNumber,
  isDraining: z.boolean(),
  version: boundedText(64),
  latencyMs: naturalNumber,
  lostCount: naturalNumber
})

const peerSchema = z.object({ id: peerIdSchema, addresses: addressesSchema })

const stateSchema = reportSchema.extend({
  condition: z.enum(['live', 'suspect', 'dead']),
  seenMs: naturalNumber,
  addresses: addressesSchema
})

const figuresSchema = z.object({
  replicas: naturalNumber,
  chunks: naturalNumber,
  underReplicated: naturalNumber,
  unreachable: naturalNumber,
  surplus: naturalNumber,
  isCurrent: z.boolean(),
  lookedMs: naturalNumber,
  pending: naturalNumber,
  copiedChunks: naturalNumber,
  copiedBytes: naturalNumber,
  failedCopies: naturalNumber,
  trimmedChunks: naturalNumber
})

const maxBytes = MAX_BODY_BYTES

/** The methods of providers/1, for both ends. */
export const providersMethods = {
  report: defineMethod('report', {
    request: z.object({ report: reportSchema, addresses: addressesSchema }),
    answer: z.object({ isDraining: z.boolean() }),
    maxBytes
  }),
  place: defineMethod('place', {
    request: z.object({
      count: naturalNumber.max(MAX_PLACE_COUNT),
      chunkBytes: naturalNumber,
      replicas: naturalNumber.max(MAX_PLACE_REPLICAS),
      exclude: z.array(peerIdSchema).max(MAX_EXCLUDED),
      beside: z.array(peerIdSchema).max(MAX_EXCLUDED),
      stripe: boundedText(128).optional()
    }),
    answer: z.object({
      providers: z.array(peerSchema).max(MAX_PLACE_COUNT * MAX_PLACE_REPLICAS),
      placements: z.array(z.array(naturalNumber).max(MAX_PLACE_REPLICAS)).max(MAX_PLACE_COUNT)
    }),
    maxBytes
  }),
  reportFailure: defineMethod('reportFailure', {
    request: z.object({ id: peerIdSchema, reason: z.enum(['failed', 'full']) }),
    answer: emptySchema,
    maxBytes
  }),
  list: defineMethod('list', {
    request: z.object({ after: peerIdSchema.optional() }),
    answer: z.object({
      providers: z.array(stateSchema).max(MAX_LISTED_PROVIDERS),
      isCut: z.boolean()
    }),
    maxBytes
  }),
  setDraining: defineMethod('setDraining', {
    request: z.object({ id: peerIdSchema, isDraining: z.boolean() }),
    answer: z.object({ provider: stateSchema }),
    maxBytes
  }),
  repairFigures: defineMethod('repairFigures', {
    request: emptySchema,
    answer: z.object({ figures: figuresSchema.nullable() }),
    maxBytes
  })
}
