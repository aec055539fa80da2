/**
 * Chunks of one image between two agents. A stream carries one image; several images are several
 * streams. Integers are big-endian, `text` is a u16 length and UTF-8, message lengths come from the
 * channel. Whoever opened the stream sends its handshake first and the other answers with its own or
 * with a goodbye (before which one that is full may name others by `peers`); one for pages only is
 * answered by another of that kind. After that both ends send whatever they like.
 *
 * ```text
 * type  message    fields
 *    1  handshake  u8 version = 1 | 32 manifest root | u8 flags | u32 chunk count
 *                  | u8 n ≤ 16, n × text address | text zone, at most 64 bytes
 *                  | bitfield, ceil(count / 8) bytes, if flags & 8
 *                  flags: 1 wants chunks · 2 holds all · 4 came for pages only (count 0) · 8 bitfield
 *    2  goodbye    u8 reason; the sender closes the stream
 *    3  have       u16 n ≤ 8,192, n × u32 index; n = 0 says "still here"
 *    4  request    u32 request | u8 class | u8 max copies | u32 index
 *    5  any        u32 request | u8 class | u8 max copies
 *    6  cancel     u32 request
 *    7  chunk      u32 request | u32 index | u8 encoding | u32 total | u32 offset | part, 1 byte to 256 KiB
 *    8  reject     u32 request | u8 reason
 *    9  peers      u8 n ≤ 50, n × { text peer id | text zone | u8 m ≤ 16, m × text address }
 *   10  pages      u32 request | u8 n (1 to 64), n × 32 page id
 *   11  page       u32 request | u8 place | u8 held (0 or 1) | page, if held
 *   12  wants      u8 0 or 1: the sender began or ceased to want chunks
 * ```
 *
 * Every request and `any` is answered once: by all parts of a chunk in order, or by a reject, also
 * after a cancel. `max copies` (0 to 255) bounds how many other wanting neighbours of the answering
 * agent may hold the chunk or be getting it from there; above it the answer is reject `spread`. With
 * `any` the answering agent chooses, among the chunks that the asker lacks, the one spread least.
 * `pages` is answered by a `page` for each place, in order; the next may be sent after the last one.
 * A chunk that occurs several times in an image is announced and asked for under its first index; bits
 * of chunks of zeros mean nothing. Classes: 0 demand, 1 read-ahead, 2 profile, 3 rest. Encoding: 0 raw.
 */

import type { ChunkId } from '../../chunks/types.ts'
import { KIB } from '../../lib/bytes.ts'
import type { ProtocolSpec } from '../types.ts'

/** Chunks of the largest image that the protocol carries: 1 TiB at 256 KiB, 64 TiB at 16 MiB. */
export const MAX_SWARM_CHUNKS = 2 ** 22

/** Bytes of a chunk that one message carries at most. */
export const MAX_PART_BYTES = 256 * KIB

/** Indexes in one `have`. */
export const MAX_HAVES = 8192

/** Entries of one peer exchange. */
export const MAX_EXCHANGED_PEERS = 50

/** Addresses of one peer in a message, and the length of each. */
export const MAX_ADDRESSES = 16
export const MAX_ADDRESS_BYTES = 256

/** Length of a zone's name, UTF-8. */
export const MAX_ZONE_BYTES = 64

/** Pages asked for by one message. */
export const MAX_PAGES = 64

/** More copies than any agent counts: whatever holds the chunk, send it. */
export const ANY_COPIES = 255

/** What the fields of a handshake take at most besides the bitfield. */
const HANDSHAKE_SLACK_BYTES = 8 * KIB

/** The protocol's name and limits. */
export const SWARM_PROTOCOL: ProtocolSpec = {
  id: '/blobswarm/swarm/1',
  maxMessageBytes: MAX_SWARM_CHUNKS / 8 + HANDSHAKE_SLACK_BYTES,
  maxStreams: 64
}

/** Who waits for a chunk, the most urgent first. */
export const REQUEST_CLASSES = ['demand', 'readAhead', 'profile', 'rest'] as const
export type RequestClass = (typeof REQUEST_CLASSES)[number]

/** Why a request is not answered by a chunk. */
export const REJECT_REASONS = ['notHeld', 'spread', 'cancelled', 'failed'] as const
export type RejectReason = (typeof REJECT_REASONS)[number]

/** Why an agent ends a stream. */
export const GOODBYE_REASONS = [
  'unknownImage',
  'full',
  'banned',
  'duplicate',
  'leaving',
  'idle',
  'violation'
] as const
export type GoodbyeReason = (typeof GOODBYE_REASONS)[number]

/** An agent and where it can be dialled. */
export interface ExchangedPeer {
  readonly peerId: string
  readonly addresses: readonly string[]
  /** Its zone, as it told itself; empty or absent when that is not known. */
  readonly zone?: string | undefined
}

/** What an agent says first: which image, and what of it it has. */
export interface HandshakeMessage {
  readonly type: 'handshake'
  readonly root: ChunkId
  readonly wants: boolean
  readonly holdsAll: boolean
  readonly pagesOnly: boolean
  readonly chunkCount: number
  readonly addresses: readonly string[]
  /** Failure domain of the sender, such as its rack; empty or absent when it is not to be known. */
  readonly zone?: string | undefined
  /** Wire form of the bitfield; absent means that it holds all or nothing. */
  readonly bitfield: Uint8Array | undefined
}

/** Part of a chunk. */
export interface ChunkMessage {
  readonly type: 'chunk'
  readonly request: number
  readonly index: number
  readonly encoding: number
  readonly totalBytes: number
  readonly offset: number
  /** A view of the message. */
  readonly part: Uint8Array
}

/** Answer to one place of a `pages`. */
export interface PageMessage {
  readonly type: 'page'
  readonly request: number
  readonly place: number
  /** A view of the message; undefined if the page is not held. */
  readonly page: Uint8Array | undefined
}

/** All that two agents say to each other about an image. */
export type SwarmMessage =
  | HandshakeMessage
  | { readonly type: 'goodbye'; readonly reason: GoodbyeReason }
  | { readonly type: 'have'; readonly indexes: readonly number[] }
  | {
      readonly type: 'request'
      readonly request: number
      readonly requestClass: RequestClass
      readonly maxCopies: number
      readonly index: number
    }
  | {
      readonly type: 'any'
      readonly request: number
      readonly requestClass: RequestClass
      readonly maxCopies: number
    }
  | { readonly type: 'cancel'; readonly request: number }
  | ChunkMessage
  | { readonly type: 'reject'; readonly request: number; readonly reason: RejectReason }
  | { readonly type: 'peers'; readonly peers: readonly ExchangedPeer[] }
  | { readonly type: 'pages'; readonly request: number; readonly ids: readonly ChunkId[] }
  | PageMessage
  | { readonly type: 'wants'; readonly wants: boolean }
