/**
 * Keys of what a metadata provider keeps, as bytes: node keys (node-codec.ts, 45), page ids (32),
 * names of records in UTF-8. They sort as bytes.
 */
import { CHUNK_ID_BYTES } from '../chunks/chunk-id.ts'
import { ByteReader, ByteWriter } from '../lib/bytes.ts'
import { MalformedError } from '../lib/errors.ts'
import { MetadataLimitError } from './errors.ts'
import { decodeNodeKey, NODE_KEY_BYTES, readBlobId, writeBlobId } from './node-codec.ts'
import type { MetadataKind } from './store-types.ts'
import type { VersionRef } from './types.ts'

/** Keys of one call that lists, compares or deletes them. */
export const MAX_KEYS = 1024

/** Bytes of a record's name. */
export const MAX_RECORD_NAME_BYTES = 1024

/** Bytes of a node key in front of place and span: blob and version. */
export const VERSION_PREFIX_BYTES = 40

const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** Key of a record. */
export function recordKey(name: string): Uint8Array {
  return new Uint8Array(Buffer.from(name))
}

/** Name in a record's key. @throws {MalformedError} if it is not UTF-8. */
export function recordName(key: Uint8Array): string {
  try {
    return strictUtf8.decode(key)
  } catch (error) {
    throw new MalformedError('record key', 'text that is not UTF-8', { cause: error })
  }
}

/** What the keys of all nodes of a version begin with. */
export function nodePrefix({ blob, version }: VersionRef): Uint8Array {
  const writer = new ByteWriter(VERSION_PREFIX_BYTES)
  writeBlobId(writer, blob)
  return writer.u64(version).finish()
}

/** A key that is above those of all nodes of a version, and below those of the next. */
export function aboveNodesOf(ref: VersionRef): Uint8Array {
  const key = new Uint8Array(NODE_KEY_BYTES).fill(0xff, VERSION_PREFIX_BYTES)
  key.set(nodePrefix(ref))
  return key
}

/** Version in the first bytes of a node's key. @throws {MalformedError} */
export function versionOfNode(key: Uint8Array): VersionRef {
  const reader = new ByteReader(key.subarray(0, VERSION_PREFIX_BYTES), 'node key')
  return { blob: readBlobId(reader), version: reader.u64() }
}

/** @throws {MetadataLimitError | MalformedError} for too many, and such as this kind cannot have. */
export function checkKeys(kind: MetadataKind, keys: readonly Uint8Array[]): void {
  if (keys.length > MAX_KEYS) throw new MetadataLimitError('keys of a call', keys.length, MAX_KEYS)
  for (const key of keys) checkKey(kind, key)
}

function checkKey(kind: MetadataKind, key: Uint8Array): void {
  switch (kind) {
    case 'nodes':
      decodeNodeKey(key)
      return
    case 'pages':
      if (key.byteLength !== CHUNK_ID_BYTES) {
        throw new MalformedError('page id', `${key.byteLength} bytes`)
      }
      return
    case 'records':
      if (key.byteLength > MAX_RECORD_NAME_BYTES) {
        throw new MalformedError('record key', `${key.byteLength} bytes`)
      }
      recordName(key)
      return
    default:
      throw new MalformedError('metadata keys', `kind ${String(kind satisfies never)}`)
  }
}

/** Tells whether a key begins with these bytes. */
export function hasPrefix(key: Uint8Array, prefix: Uint8Array): boolean {
  return (
    key.byteLength >= prefix.byteLength &&
    Buffer.compare(key.subarray(0, prefix.byteLength), prefix) === 0
  )
}
