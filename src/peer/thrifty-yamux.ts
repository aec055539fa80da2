import type { MessageStream, StreamMuxerFactory } from '@libp2p/interface'
import { type YamuxMuxerInit, yamux } from '@libp2p/yamux'
import { KIB } from '../lib/bytes.ts'
import { toError } from '../lib/to-error.ts'
import { shortCut } from './stream-delivery.ts'
import type { StreamBytes } from './stream-writing.ts'

/** Window is granted when this much of it was used: half of the window that a stream begins with. */
const MIN_GRANT_BYTES = 128 * KIB

const WINDOW_UPDATE = 1

/** A frame's header, as yamux hands it on to be sent. */
interface FrameHeader {
  readonly type: number
  readonly flag: number
  readonly streamID: number
  readonly length: number
}

/** What is used of a muxer here; its type hides it. */
interface InnerMuxer {
  readonly streams: readonly { readonly streamId: number }[]
  sendFrame(header: FrameHeader, body?: unknown): boolean
  onData(bytes: StreamBytes): void
  abort(error: Error): void
}

/**
 * libp2p's yamux, which grants window in large portions and is handed what comes without an event. Its own way
 * is a message for each message that was read, and each costs both ends a cipher, a system call and an event
 * for a few bytes.
 */
export function thriftyYamux(init: YamuxMuxerInit): () => StreamMuxerFactory {
  return () => {
    const factory = yamux(init)()
    const create = factory.createStreamMuxer.bind(factory)
    factory.createStreamMuxer = (connection) => {
      const muxer = create(connection)
      const inside = muxer as unknown as InnerMuxer
      saveGrants(inside)
      shortCut(connection, (bytes) => handOn(bytes, inside, connection))
      return muxer
    }
    return factory
  }
}

/** What the library does when its connection tells of bytes. */
function handOn(bytes: StreamBytes, muxer: InnerMuxer, connection: MessageStream): void {
  try {
    muxer.onData(bytes)
  } catch (thrown) {
    const error = toError(thrown)
    muxer.abort(error)
    connection.abort(error)
  }
}

function saveGrants(muxer: InnerMuxer): void {
  const send = muxer.sendFrame.bind(muxer)
  const saved = new Map<number, number>()
  muxer.sendFrame = (header, body) => {
    const { type, flag, streamID, length } = header
    if (type !== WINDOW_UPDATE || flag !== 0) return send(header, body)
    const grant = (saved.get(streamID) ?? 0) + length
    if (grant >= MIN_GRANT_BYTES) {
      saved.delete(streamID)
      return send({ ...header, length: grant })
    }
    saved.set(streamID, grant)
    if (saved.size > 2 * muxer.streams.length) forgetEnded(saved, muxer)
    return true
  }
}

function forgetEnded(saved: Map<number, number>, { streams }: InnerMuxer): void {
  const open = new Set(streams.map(({ streamId }) => streamId))
  for (const id of saved.keys()) if (!open.has(id)) saved.delete(id)
}
