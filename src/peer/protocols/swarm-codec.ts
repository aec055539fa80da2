/** Bytes of the messages of `swarm/1`, which swarm.ts lists and draws. */

import { CHUNK_ID_BYTES } from '../../chunks/chunk-id.ts'
import { MAX_CHUNK_BYTES } from '../../chunks/chunk-size.ts'
import { MAX_MANIFEST_PAGE_BYTES } from '../../chunks/manifest.ts'
import { ByteReader, ByteWriter } from '../../lib/bytes.ts'
import { MalformedError } from '../../lib/errors.ts'
import {
  type ChunkMessage,
  type ExchangedPeer,
  GOODBYE_REASONS,
  type HandshakeMessage,
  MAX_ADDRESS_BYTES,
  MAX_ADDRESSES,
  MAX_EXCHANGED_PEERS,
  MAX_HAVES,
  MAX_PAGES,
  MAX_PART_BYTES,
  MAX_SWARM_CHUNKS,
  MAX_ZONE_BYTES,
  type PageMessage,
  REJECT_REASONS,
  REQUEST_CLASSES,
  type RequestClass,
  type SwarmMessage
} from './swarm.ts'

const VERSION = 1
const MAX_PEER_ID_BYTES = 128
// The largest message without its lists is a handshake, with 40 bytes.
const FIXED_BYTES = 48
const MESSAGE_TYPES = [
  'handshake',
  'goodbye',
  'have',
  'request',
  'any',
  'cancel',
  'chunk',
  'reject',
  'peers',
  'pages',
  'page',
  'wants'
] as const

const FLAG_WANTS = 1
const FLAG_HOLDS_ALL = 2
const FLAG_PAGES_ONLY = 4
const FLAG_BITFIELD = 8

/** Encodes a message as parts to send one after the other; chunk and page bytes are not copied. */
export function encodeSwarmMessage(message: SwarmMessage): Uint8Array[] {
  const writer = new ByteWriter(headBytes(message)).u8(MESSAGE_TYPES.indexOf(message.type) + 1)
  const tail = writeFields(writer, message)
  return tail === undefined ? [writer.finish()] : [writer.finish(), tail]
}

/** Writes all fields but one at the end that is handed on as it is. */
function writeFields(writer: ByteWriter, message: SwarmMessage): Uint8Array | undefined {
  let tail: Uint8Array | undefined
  switch (message.type) {
    case 'handshake':
      tail = writeHandshake(writer, message)
      break
    case 'goodbye':
      writer.u8(GOODBYE_REASONS.indexOf(message.reason))
      break
    case 'have':
      writer.u16(message.indexes.length)
      for (const index of message.indexes) writer.u32(index)
      break
    case 'request':
    case 'any':
      writer.u32(message.request).u8(REQUEST_CLASSES.indexOf(message.requestClass))
      writer.u8(message.maxCopies)
      if (message.type === 'request') writer.u32(message.index)
      break
    case 'cancel':
      writer.u32(message.request)
      break
    case 'chunk':
      writer.u32(message.request).u32(message.index).u8(message.encoding)
      writer.u32(message.totalBytes).u32(message.offset)
      tail = message.part
      break
    case 'reject':
      writer.u32(message.request).u8(REJECT_REASONS.indexOf(message.reason))
      break
    case 'peers':
      writer.u8(message.peers.length)
      for (const { peerId, addresses, zone = '' } of message.peers) {
        writeTexts(writer.text(peerId).text(zone), addresses)
      }
      break
    case 'pages':
      writer.u32(message.request).u8(message.ids.length)
      for (const id of message.ids) writer.bytes(id)
      break
    case 'page':
      writer
        .u32(message.request)
        .u8(message.place)
        .u8(message.page === undefined ? 0 : 1)
      tail = message.page
      break
    case 'wants':
      writer.u8(message.wants ? 1 : 0)
      break
  }
  return tail
}

/** Bytes that a message has at most, without what is handed on as it is. */
function headBytes(message: SwarmMessage): number {
  const { type } = message
  if (type === 'handshake') {
    return FIXED_BYTES + textsBytes([message.zone ?? '', ...message.addresses])
  }
  if (type === 'have') return FIXED_BYTES + message.indexes.length * 4
  if (type === 'pages') return FIXED_BYTES + message.ids.length * CHUNK_ID_BYTES
  if (type !== 'peers') return FIXED_BYTES
  return message.peers.reduce(
    (sum, { peerId, addresses, zone = '' }) => sum + textsBytes([peerId, zone, ...addresses]),
    FIXED_BYTES
  )
}

/** Space for texts of UTF-8 with their lengths, and for the number of them. */
function textsBytes(texts: readonly string[]): number {
  return texts.reduce((sum, text) => sum + 2 + Buffer.byteLength(text), 1)
}

function writeHandshake(writer: ByteWriter, message: HandshakeMessage): Uint8Array | undefined {
  const { bitfield } = message
  const flags =
    (message.wants ? FLAG_WANTS : 0) |
    (message.holdsAll ? FLAG_HOLDS_ALL : 0) |
    (message.pagesOnly ? FLAG_PAGES_ONLY : 0) |
    (bitfield === undefined ? 0 : FLAG_BITFIELD)
  writer.u8(VERSION).bytes(message.root).u8(flags).u32(message.chunkCount)
  writeTexts(writer, message.addresses)
  writer.text(message.zone ?? '')
  return bitfield
}

function writeTexts(writer: ByteWriter, texts: readonly string[]): void {
  writer.u8(texts.length)
  for (const text of texts) writer.text(text)
}

/**
 * Reads a message. Indexes and counts are checked against the protocol's limits only; whether they fit
 * the image is for the receiver to say.
 *
 * @throws {MalformedError} for anything but one whole message.
 */
export function decodeSwarmMessage(bytes: Uint8Array): SwarmMessage {
  const reader = new ByteReader(bytes, 'swarm message')
  const type = MESSAGE_TYPES[reader.u8() - 1]
  if (type === undefined) throw new MalformedError('swarm message', `type ${bytes[0]} is not known`)
  const message = READERS[type](reader, bytes)
  if (type !== 'chunk' && type !== 'page') reader.end()
  return message
}

const READERS: Record<
  SwarmMessage['type'],
  (reader: ByteReader, bytes: Uint8Array) => SwarmMessage
> = {
  handshake: readHandshake,
  goodbye: (reader) => ({ type: 'goodbye', reason: choice(reader, GOODBYE_REASONS) }),
  have: (reader) => ({
    type: 'have',
    indexes: times(reader, reader.u16(), MAX_HAVES, () => reader.u32())
  }),
  request: (reader) => ({ type: 'request', ...readAsk(reader), index: reader.u32() }),
  any: (reader) => ({ type: 'any', ...readAsk(reader) }),
  cancel: (reader) => ({ type: 'cancel', request: reader.u32() }),
  chunk: readChunk,
  reject: (reader) => ({
    type: 'reject',
    request: reader.u32(),
    reason: choice(reader, REJECT_REASONS)
  }),
  peers: (reader) => ({
    type: 'peers',
    peers: times(reader, reader.u8(), MAX_EXCHANGED_PEERS, () => readPeer(reader))
  }),
  pages: readPages,
  page: readPage,
  wants: (reader) => ({ type: 'wants', wants: readFlag(reader) })
}

function readAsk(reader: ByteReader): {
  request: number
  requestClass: RequestClass
  maxCopies: number
} {
  return {
    request: reader.u32(),
    requestClass: choice(reader, REQUEST_CLASSES),
    maxCopies: reader.u8()
  }
}

function readHandshake(reader: ByteReader): HandshakeMessage {
  const version = reader.u8()
  if (version !== VERSION) reader.fail(`version ${version} is not known`)
  const root = reader.bytes(CHUNK_ID_BYTES)
  const flags = reader.u8()
  if (flags > 15) reader.fail(`flags ${flags} are not known`)
  const holdsAll = (flags & FLAG_HOLDS_ALL) !== 0
  const pagesOnly = (flags & FLAG_PAGES_ONLY) !== 0
  const chunkCount = reader.u32()
  if (chunkCount > MAX_SWARM_CHUNKS) reader.fail(`${chunkCount} chunks`)
  if (pagesOnly && (chunkCount > 0 || flags !== FLAG_PAGES_ONLY)) reader.fail('pages only and more')
  const addresses = readTexts(reader)
  const zone = readZone(reader)
  const hasBitfield = (flags & FLAG_BITFIELD) !== 0
  if (hasBitfield && holdsAll) reader.fail('holds all and a bitfield')
  const bitfield = hasBitfield ? reader.bytes(Math.ceil(chunkCount / 8)) : undefined
  const wants = (flags & FLAG_WANTS) !== 0
  const about = { root, wants, holdsAll, pagesOnly, chunkCount }
  return { type: 'handshake', ...about, addresses, zone, bitfield }
}

function readChunk(reader: ByteReader, bytes: Uint8Array): ChunkMessage {
  const request = reader.u32()
  const index = reader.u32()
  const encoding = reader.u8()
  if (encoding !== 0) reader.fail(`encoding ${encoding} is not known`)
  const totalBytes = reader.u32()
  if (totalBytes > MAX_CHUNK_BYTES) reader.fail(`a chunk of ${totalBytes} bytes`)
  const offset = reader.u32()
  const part = bytes.subarray(bytes.byteLength - reader.remaining)
  if (part.byteLength === 0 || part.byteLength > MAX_PART_BYTES) {
    reader.fail(`a part of ${part.byteLength} bytes`)
  }
  if (offset + part.byteLength > totalBytes) {
    reader.fail(`a part that ends at ${offset + part.byteLength} of ${totalBytes}`)
  }
  return { type: 'chunk', request, index, encoding, totalBytes, offset, part }
}

function readPages(reader: ByteReader): SwarmMessage {
  const request = reader.u32()
  const ids = times(reader, reader.u8(), MAX_PAGES, () => reader.bytes(CHUNK_ID_BYTES))
  if (ids.length === 0) reader.fail('no pages')
  return { type: 'pages', request, ids }
}

function readPage(reader: ByteReader, bytes: Uint8Array): PageMessage {
  const request = reader.u32()
  const place = reader.u8()
  const isHeld = readFlag(reader)
  const page = bytes.subarray(bytes.byteLength - reader.remaining)
  if (page.byteLength > MAX_MANIFEST_PAGE_BYTES || (!isHeld && page.byteLength > 0)) {
    reader.fail(`a page of ${page.byteLength} bytes`)
  }
  return { type: 'page', request, place, page: isHeld ? page : undefined }
}

function readPeer(reader: ByteReader): ExchangedPeer {
  const peerId = boundedText(reader, MAX_PEER_ID_BYTES)
  return { peerId, zone: readZone(reader), addresses: readTexts(reader) }
}

function readZone(reader: ByteReader): string {
  const zone = reader.text()
  if (Buffer.byteLength(zone) > MAX_ZONE_BYTES) reader.fail(`zone of ${zone.length} characters`)
  return zone
}

function readTexts(reader: ByteReader): string[] {
  return times(reader, reader.u8(), MAX_ADDRESSES, () => boundedText(reader, MAX_ADDRESS_BYTES))
}

function boundedText(reader: ByteReader, limit: number): string {
  const text = reader.text()
  if (text.length > limit) reader.fail(`text of ${text.length} characters`)
  return text
}

function readFlag(reader: ByteReader): boolean {
  const value = reader.u8()
  if (value > 1) reader.fail(`flag ${value}`)
  return value === 1
}

function choice<T>(reader: ByteReader, choices: readonly T[]): T {
  const value = reader.u8()
  const chosen = choices[value]
  if (chosen === undefined) {
    throw new MalformedError('swarm message', `${value} of ${choices.length} choices`)
  }
  return chosen
}

function times<T>(reader: ByteReader, count: number, limit: number, read: () => T): T[] {
  if (count > limit) reader.fail(`${count} entries, at most ${limit}`)
  return Array.from({ length: count }, read)
}
