import { open } from 'node:fs/promises'
import { SourceTruncatedError } from './client-errors.ts'
import { FileSink } from './client-file-sink.ts'

/** Bytes to upload, read at any place and in any order. */
export interface UploadSource {
  /** Size of the whole. */
  readonly bytes: number
  /** Reads up to `length` bytes; the array belongs to the caller. Nothing only at the end. */
  read(offset: number, length: number): Promise<Uint8Array>
}

/** Takes downloaded bytes; pieces may come in any order and several calls may be under way. */
export type DownloadSink = (offset: number, bytes: Uint8Array) => Promise<void> | void

/** A source that holds something open. */
export interface OpenSource extends UploadSource {
  close(): Promise<void>
}

/** A sink that shows what it took only after `finish`. */
export interface OpenSink {
  take(offset: number, bytes: Uint8Array): Promise<void>
  /** Makes the file visible under its name. */
  finish(): Promise<void>
  /** Drops what was taken. Harmless after `finish`. */
  discard(): Promise<void>
}

/** Opens a file path, or passes a source through. */
export async function openSource(source: string | UploadSource): Promise<OpenSource> {
  if (typeof source !== 'string') {
    return {
      bytes: source.bytes,
      read: async (offset, length) => readFully(source, offset, length),
      close: async () => {}
    }
  }
  const handle = await open(source, 'r')
  try {
    const { size } = await handle.stat()
    const file: UploadSource = {
      bytes: size,
      read: async (position, length) => {
        const buffer = Buffer.allocUnsafeSlow(length)
        const { bytesRead } = await handle.read({ buffer, position })
        return bytesRead === length ? buffer : buffer.subarray(0, bytesRead)
      }
    }
    return {
      bytes: size,
      read: async (offset, length) => readFully(file, offset, length, source),
      close: async () => handle.close()
    }
  } catch (error) {
    await handle.close()
    throw error
  }
}

/**
 * Opens a file for a download, or passes a sink through. The bytes go to a temporary file beside the
 * target, which replaces it on `finish`.
 */
export async function openSink(sink: string | DownloadSink): Promise<OpenSink> {
  if (typeof sink === 'string') return FileSink.open(sink)
  return {
    take: async (offset, bytes) => sink(offset, bytes),
    finish: async () => {},
    discard: async () => {}
  }
}

async function readFully(
  source: UploadSource,
  offset: number,
  length: number,
  name = 'the source'
): Promise<Uint8Array> {
  const first = await source.read(offset, length)
  if (first.byteLength === length) return first
  const whole = Buffer.allocUnsafeSlow(length)
  let filled = 0
  for (let part = first; ; part = await source.read(offset + filled, length - filled)) {
    if (part.byteLength === 0) throw new SourceTruncatedError(name, offset + filled)
    whole.set(part, filled)
    filled += part.byteLength
    if (filled === length) return whole
  }
}
