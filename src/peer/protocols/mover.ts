/**
 * `/blobswarm/mover/1`: a GridFTP front lets data movers carry the stripes of its transfers. One
 * channel is one session of the front's client: it ends with the channel, and with it all ports,
 * connections and leases that it had. Requests and answers as rpc.ts draws them; messages are at
 * most 1 MiB. Bodies in CBOR:
 *
 * ```text
 * method         right  request                                     answer
 * open           read   {clientHost?, maxSockets, idleMs}           {}
 * listen         write  {family?: 1|2}                              {host, port}
 * connect        read   {targets: [{host, port}…], parallelism}     {counts: [n…], isReused}
 * receive        write  {description: DESCRIPTION, blockOffset, baseOffset, isRestartable}
 *                                                                   {receivedBytes, endBytes, list}
 * checkpoint     write  {}                                          {list}
 * leaves         write  {list}                                      {pages: [bytes…], isLast}
 * send           read   {record: envelope, ranges: [[start, end]…], base, stripeBytes,
 *                        parts: [PART…], closes}                    {sentBytes}
 * progress       read   {}                                          {movedBytes, isConnected, isStoring}
 * ensure         write  {}                                          {}
 * release        write  {}                                          {}
 *
 * DESCRIPTION  {blob, chunkBytes, replicas, createdMs}
 * PART         {target, targetCount, share, shareCount, eodCount, sendsEof}
 * envelope     byte string: a signed version record (metadata/version-record.ts)
 * ```
 *
 * `open` comes first, once. Data connections come from and go to `clientHost`, or any address when
 * it is left out. `listen` opens a port, `connect` makes connections, both drop what was open
 * before; only where the targets are the same `connect` keeps connections that are still there. A
 * session carries one transfer at a time.
 *
 * `receive` is answered when the sender is done and every chunk is stored. `list` is the number of a
 * leaf list (metadata/leaf-list-codec.ts); `leaves` gives its pages in order, the root last, as many
 * a time as fit into 512 KiB, or one. `checkpoint` lists what a restartable `receive` has stored
 * since the last one, also when it has failed. The mover renews the leases of the chunks until
 * `release`, the next `receive` or the end of the session; `ensure` is answered when they are safe
 * for half of a lease.
 *
 * `send` has a part for each target of `connect`. Stripe block k begins at base + k stripeBytes of
 * the version; a part is those with k mod targetCount = target and ⌊k / targetCount⌋ mod
 * shareCount = share, as far as `ranges` ask for them. `eodCount` is what the target's one EOF
 * announces.
 *
 * `progress` also says that the front is alive: a transfer ends when neither data nor questions come
 * for `idleMs`. A request that is cancelled ends its transfer. Only agents with the role gridftp are
 * answered.
 */
import { z } from 'zod'
import { MIB } from '../../lib/bytes.ts'
import { MAX_SENT_RANGES, MAX_STRIPES } from '../../metadata/stripe-types.ts'
import { boundedBytes, boundedText, naturalNumber } from '../codec.ts'
import { defineMethod, RPC_OVERHEAD_BYTES } from '../rpc.ts'
import type { ProtocolSpec } from '../types.ts'
import { blobIdSchema, emptySchema } from './schemas.ts'

const MAX_BODY_BYTES = MIB - RPC_OVERHEAD_BYTES

/** A transfer takes as long as its data; timers take no more. */
const TRANSFER_TIMEOUT_MS = 2 ** 31 - 1

/** Copies are made of what lost some before a version is published. */
const ENSURE_TIMEOUT_MS = 300_000

/** Chunks on their way are waited for. */
const CHECKPOINT_TIMEOUT_MS = 60_000

/** Bytes of leaf-list pages in one answer, at least one page. */
export const MAX_LEAF_ANSWER_BYTES = MIB / 2

/** Id and limits of the protocol. */
export const MOVER_PROTOCOL: ProtocolSpec = {
  id: '/blobswarm/mover/1',
  maxMessageBytes: MAX_BODY_BYTES + RPC_OVERHEAD_BYTES,
  maxStreams: 256
}

const addressSchema = z.object({
  host: boundedText(64).min(1),
  port: naturalNumber.min(1).max(65_535)
})

const openSchema = z.object({
  clientHost: boundedText(64).optional(),
  maxSockets: naturalNumber.min(1).max(4096),
  idleMs: naturalNumber.min(1).max(TRANSFER_TIMEOUT_MS)
})

const descriptionSchema = z.object({
  blob: blobIdSchema,
  chunkBytes: naturalNumber,
  replicas: naturalNumber,
  createdMs: naturalNumber
})

const stripeCount = naturalNumber.min(1).max(MAX_STRIPES)

const partSchema = z
  .object({
    target: naturalNumber,
    targetCount: stripeCount,
    share: naturalNumber,
    shareCount: stripeCount,
    eodCount: naturalNumber.min(1),
    sendsEof: z.boolean()
  })
  .refine(
    ({ target, targetCount, share, shareCount }) => target < targetCount && share < shareCount,
    'must be a part that there is'
  )

const sendSchema = z.object({
  record: boundedBytes(65_536),
  ranges: z.array(z.tuple([naturalNumber, naturalNumber])).max(MAX_SENT_RANGES),
  base: naturalNumber,
  stripeBytes: naturalNumber.min(1),
  parts: z.array(partSchema).min(1).max(MAX_STRIPES),
  closes: z.boolean()
})

const maxBytes = MAX_BODY_BYTES

/** The methods of mover/1, for both ends. */
export const moverMethods = {
  open: defineMethod('open', { request: openSchema, answer: emptySchema, maxBytes }),
  listen: defineMethod('listen', {
    request: z.object({ family: z.union([z.literal(1), z.literal(2)]).optional() }),
    answer: addressSchema,
    maxBytes
  }),
  connect: defineMethod('connect', {
    request: z.object({
      targets: z.array(addressSchema).min(1).max(MAX_STRIPES),
      parallelism: naturalNumber.min(1)
    }),
    answer: z.object({
      counts: z.array(naturalNumber.min(1)).max(MAX_STRIPES),
      isReused: z.boolean()
    }),
    timeoutMs: 60_000,
    maxBytes
  }),
  receive: defineMethod('receive', {
    request: z.object({
      description: descriptionSchema,
      blockOffset: naturalNumber,
      baseOffset: naturalNumber,
      isRestartable: z.boolean()
    }),
    answer: z.object({
      receivedBytes: naturalNumber,
      endBytes: naturalNumber,
      list: naturalNumber
    }),
    timeoutMs: TRANSFER_TIMEOUT_MS,
    isLong: true,
    maxBytes
  }),
  checkpoint: defineMethod('checkpoint', {
    request: emptySchema,
    answer: z.object({ list: naturalNumber }),
    timeoutMs: CHECKPOINT_TIMEOUT_MS,
    isLong: true,
    maxBytes
  }),
  leaves: defineMethod('leaves', {
    request: z.object({ list: naturalNumber }),
    answer: z.object({ pages: z.array(boundedBytes(maxBytes)).min(1), isLast: z.boolean() }),
    maxBytes
  }),
  send: defineMethod('send', {
    request: sendSchema,
    answer: z.object({ sentBytes: naturalNumber }),
    timeoutMs: TRANSFER_TIMEOUT_MS,
    isLong: true,
    maxBytes
  }),
  progress: defineMethod('progress', {
    request: emptySchema,
    answer: z.object({
      movedBytes: naturalNumber,
      isConnected: z.boolean(),
      isStoring: z.boolean()
    }),
    maxBytes
  }),
  ensure: defineMethod('ensure', {
    request: emptySchema,
    answer: emptySchema,
    timeoutMs: ENSURE_TIMEOUT_MS,
    isLong: true,
    maxBytes
  }),
  release: defineMethod('release', { request: emptySchema, answer: emptySchema, maxBytes })
}
