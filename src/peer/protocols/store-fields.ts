import { Bitfield } from '../../chunks/bitfield.ts'
import { CHUNK_ID_BYTES } from '../../chunks/chunk-id.ts'
import { MAX_CHUNK_BYTES } from '../../chunks/chunk-size.ts'
import type { ChunkSource, CopyCondition } from '../../chunks/maintenance-types.ts'
import type { ChunkId } from '../../chunks/types.ts'
import { type ByteReader, type ByteWriter, KIB } from '../../lib/bytes.ts'

/** Most bytes of a chunk in one message. */
export const MAX_PART_BYTES = 256 * KIB

/** Chunks that one `has` may ask for. */
export const MAX_HAS_IDS = 1024

/** Chunks that one `check` or `copy` may ask for. */
export const MAX_WORK_IDS = 256

/** Sources that one `copy` may name, and addresses of each. */
export const MAX_SOURCES = 16
export const MAX_SOURCE_ADDRESSES = 16

/** Longest peer id and longest address of a source, in UTF-16 units. */
export const MAX_SOURCE_NAME = 200
export const MAX_SOURCE_ADDRESS = 400

/** Bytes of a message beside a part; longer ones make room as they are written. */
export const STORE_HEAD_BYTES = 64

/** The only way in which chunks are encoded so far. */
export const ENCODING_RAW = 0

const COLLECTION_NAME = /^[!-~]{1,64}$/

const CONDITIONS = ['intact', 'corrupt', 'missing', 'absent'] as const satisfies CopyCondition[]

/** Tells whether a text can be the name of a collection. */
export function isCollectionName(text: string): boolean {
  return COLLECTION_NAME.test(text)
}

/** Cuts a chunk into the parts that it travels in; views, not copies. */
export function partsOf(bytes: Uint8Array): Uint8Array[] {
  const count = Math.ceil(bytes.byteLength / MAX_PART_BYTES)
  return Array.from({ length: count }, (_, at) =>
    bytes.subarray(at * MAX_PART_BYTES, (at + 1) * MAX_PART_BYTES)
  )
}

/** Reads encoding and length of a chunk. @throws {MalformedError} */
export function readLength(reader: ByteReader): number {
  const encoding = reader.u8()
  if (encoding !== ENCODING_RAW) reader.fail(`encoding ${encoding}`)
  const length = reader.u32()
  if (length < 1 || length > MAX_CHUNK_BYTES) reader.fail(`a chunk of ${length} bytes`)
  return length
}

/** Reads the part that a message ends with, as a view. @throws {MalformedError} */
export function readPart(reader: ByteReader, message: Uint8Array, atMost: number): Uint8Array {
  const { remaining } = reader
  if (remaining < 1 || remaining > Math.min(atMost, MAX_PART_BYTES)) {
    reader.fail(`a part of ${remaining} bytes`)
  }
  return message.subarray(message.byteLength - remaining)
}

/** Writes the name of a collection. */
export function writeName(writer: ByteWriter, name: string): ByteWriter {
  const text = Buffer.from(name, 'latin1')
  return writer.u8(text.byteLength).bytes(text)
}

/** Reads the name of a collection. @throws {MalformedError} */
export function readName(reader: ByteReader): string {
  const name = Buffer.from(reader.bytes(reader.u8())).toString('latin1')
  if (!isCollectionName(name)) reader.fail('a name that no collection has')
  return name
}

/** Writes a count (2) and the ids. */
export function writeIds(writer: ByteWriter, ids: readonly ChunkId[]): ByteWriter {
  writer.u16(ids.length)
  for (const id of ids) writer.bytes(id)
  return writer
}

/** Reads a count (2), at least 1, and the ids. @throws {MalformedError} */
export function readIds(reader: ByteReader, atMost: number): ChunkId[] {
  const count = reader.u16()
  if (count < 1 || count > atMost) reader.fail(`${count} ids`)
  return Array.from({ length: count }, () => reader.bytes(CHUNK_ID_BYTES))
}

/** Reads ids that a message ends with. @throws {MalformedError} */
export function readLastIds(reader: ByteReader, atMost: number): ChunkId[] {
  const ids = readIds(reader, atMost)
  reader.end()
  return ids
}

/** Writes who may have chunks, and where that is. */
export function writeSources(writer: ByteWriter, sources: readonly ChunkSource[]): ByteWriter {
  writer.u8(sources.length)
  for (const { id, addresses } of sources) {
    writer.text(id).u8(addresses.length)
    for (const address of addresses) writer.text(address)
  }
  return writer
}

/** Reads the sources that a message ends with. @throws {MalformedError} */
export function readSources(reader: ByteReader): ChunkSource[] {
  const text = (atMost: number): string => {
    const read = reader.text()
    if (read.length < 1 || read.length > atMost) reader.fail(`a text of ${read.length} characters`)
    return read
  }
  const count = (what: string, atMost: number): number => {
    const read = reader.u8()
    return read > atMost ? reader.fail(`${read} ${what}`) : read
  }
  const sources = Array.from({ length: count('sources', MAX_SOURCES) }, () => {
    const id = text(MAX_SOURCE_NAME)
    const length = count('addresses', MAX_SOURCE_ADDRESSES)
    return { id, addresses: Array.from({ length }, () => text(MAX_SOURCE_ADDRESS)) }
  })
  reader.end()
  return sources
}

/** Packs answers into a bitfield. */
export function packBits(bits: readonly boolean[]): Uint8Array {
  const field = new Bitfield(bits.length)
  for (const [at, bit] of bits.entries()) if (bit) field.set(at)
  return field.encode()
}

/** Reads a count (2) and the bitfield that a message ends with. @throws {MalformedError} */
export function readBits(reader: ByteReader, atMost: number): boolean[] {
  const count = reader.u16()
  if (count < 1 || count > atMost) reader.fail(`${count} answers`)
  const field = Bitfield.decode(reader.bytes(Math.ceil(count / 8)), count)
  reader.end()
  return Array.from({ length: count }, (_, at) => field.get(at))
}

/** Writes a count (2) and the conditions, a byte each. */
export function writeConditions(
  writer: ByteWriter,
  conditions: readonly CopyCondition[]
): ByteWriter {
  writer.u16(conditions.length)
  for (const condition of conditions) writer.u8(CONDITIONS.indexOf(condition))
  return writer
}

/** Reads the conditions that a message ends with. @throws {MalformedError} */
export function readConditions(reader: ByteReader): CopyCondition[] {
  const count = reader.u16()
  if (count < 1 || count > MAX_WORK_IDS) reader.fail(`${count} conditions`)
  const conditions = Array.from(
    { length: count },
    () => CONDITIONS[reader.u8()] ?? reader.fail('an unknown condition')
  )
  reader.end()
  return conditions
}
