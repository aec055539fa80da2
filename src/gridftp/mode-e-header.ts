/**
 * Block header of extended block mode (MODE E).
 *
 * ```text
 * byte  0       flags   one bit each, see below
 * byte  1 .. 8  count   u64 big-endian: bytes of payload that follow; not used in an EOF header
 * byte  9 .. 16 offset  u64 big-endian: place of the payload in the file; in an EOF header the number
 *                       of connections that send an EOD to this port, and no payload follows
 * ```
 *
 * Counts and offsets above `Number.MAX_SAFE_INTEGER` (8 PiB) are refused.
 *
 * @see GFD.020, section 3 (extended block mode)
 */
import { asBuffer } from '../lib/bytes.ts'
import { MalformedError } from '../lib/errors.ts'

/** Bytes of a header. */
export const MODE_E_HEADER_BYTES = 17

/** End of record: from RFC 959's block mode, without meaning here. */
export const MODE_E_EOR = 0x80

/** End of file: the offset field holds the number of EODs to wait for. */
export const MODE_E_EOF = 0x40

/** The sender doubts the payload. */
export const MODE_E_SUSPECT = 0x20

/** The payload is a restart marker, not part of the file. */
export const MODE_E_RESTART = 0x10

/** End of data: nothing more for this file on this connection. */
export const MODE_E_EOD = 0x08

/** The sender closes this connection after what this header announces. */
export const MODE_E_CLOSE = 0x04

/** Bits that mean nothing. */
export const MODE_E_UNKNOWN_FLAGS = 0x03

/** One decoded header. `flags` is any combination of the bits above; unknown bits are kept. */
export interface ModeEHeader {
  readonly flags: number
  readonly count: number
  /** The number of EODs when `flags` has `MODE_E_EOF`. */
  readonly offset: number
}

const U32 = 2 ** 32

/** Encodes a header into an array of its own. @throws {RangeError} if a field does not fit. */
export function encodeModeEHeader(header: ModeEHeader): Uint8Array {
  const { flags, count, offset } = header
  if (!Number.isInteger(flags) || flags < 0 || flags > 0xff) {
    throw new RangeError(`not flags: ${flags}`)
  }
  const buffer = Buffer.alloc(MODE_E_HEADER_BYTES)
  buffer.writeUInt8(flags, 0)
  writeU64(buffer, count, 1)
  writeU64(buffer, offset, 9)
  return buffer
}

/**
 * Decodes the header at `at`.
 *
 * @throws {MalformedError} if fewer than 17 bytes are there or a field is above 2^53 − 1.
 */
export function decodeModeEHeader(bytes: Uint8Array, at = 0): ModeEHeader {
  if (bytes.byteLength - at < MODE_E_HEADER_BYTES) {
    throw new MalformedError('MODE E header', `${bytes.byteLength - at} bytes of 17`)
  }
  const buffer = asBuffer(bytes)
  return {
    flags: buffer.readUInt8(at),
    count: readU64(buffer, at + 1, 'count'),
    offset: readU64(buffer, at + 9, 'offset')
  }
}

/** Payload bytes that follow a header: an EOF header has none, whatever its count says. */
export function modeEPayloadBytes(header: ModeEHeader): number {
  return (header.flags & MODE_E_EOF) === 0 ? header.count : 0
}

function writeU64(buffer: Buffer, value: number, at: number): void {
  if (!Number.isSafeInteger(value) || value < 0) throw new RangeError(`not a u64: ${value}`)
  buffer.writeUInt32BE(Math.floor(value / U32), at)
  buffer.writeUInt32BE(value % U32, at + 4)
}

function readU64(buffer: Buffer, at: number, field: string): number {
  const value = buffer.readUInt32BE(at) * U32 + buffer.readUInt32BE(at + 4)
  if (!Number.isSafeInteger(value)) {
    throw new MalformedError('MODE E header', `${field} is not a safe integer`)
  }
  return value
}
