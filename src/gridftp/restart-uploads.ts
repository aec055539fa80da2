import type { Range } from '../lib/range-set.ts'
import type { WriteHandle } from './dsi.ts'
import type { Reply } from './replies.ts'
import { RestartMarkers } from './restart-markers.ts'
import type { CommandContext } from './types.ts'
import type { UploadRequest } from './upload.ts'
import type { BlockSink } from './upload-queue.ts'

/** Tells whether an upload that breaks can be continued: its blocks must say where they belong. */
export function mayBeRestarted({ state }: CommandContext, request: UploadRequest): boolean {
  const { mode, streamOffset, blockOffset } = request
  return state.mode === 'E' && mode !== 'append' && streamOffset === blockOffset
}

/** The restart markers of an upload, which go to its client. */
export function openRestartMarkers(
  context: CommandContext,
  { blockOffset, arrived }: UploadRequest,
  handle: Pick<WriteHandle, 'checkpoint'>
): RestartMarkers {
  const { clock, settings, logger } = context.services
  const send = (marker: Reply): boolean => context.trySend(marker)
  const intervalMs = context.state.restartIntervalMs ?? settings.markerIntervalMs
  const options = { intervalMs, base: blockOffset, claimed: arrived }
  return new RestartMarkers({ clock, logger, handle, send }, options)
}

/**
 * Ends an upload that failed. One that may be restarted is kept as far as its client has been told
 * what arrived.
 */
export async function giveUp(
  context: CommandContext,
  request: UploadRequest,
  { handle, restart }: { readonly handle: WriteHandle; readonly restart: RestartMarkers }
): Promise<void> {
  if (handle.suspend === undefined || !mayBeRestarted(context, request)) {
    await restart.stop()
    await handle.abort()
    return
  }
  await restart.breakOff()
  await handle.suspend()
  const { promisedBytes: bytes } = restart
  if (bytes === 0) return
  const { verb, path } = request
  const { logger } = context.services
  logger.info('%s %s broke and is kept: %d bytes need not be sent again', verb, path, bytes)
}

/** Passes blocks on and remembers between which bytes of the file they lie. */
export class MeasuringSink implements BlockSink {
  readonly #sink: BlockSink
  #start = Infinity
  #end = 0

  constructor(sink: BlockSink) {
    this.#sink = sink
  }

  /** From the first byte to the last; empty if there was none. */
  get range(): Range {
    return { start: Math.min(this.#start, this.#end), end: this.#end }
  }

  push(offset: number, bytes: Uint8Array): boolean {
    if (bytes.byteLength > 0) {
      this.#start = Math.min(this.#start, offset)
      this.#end = Math.max(this.#end, offset + bytes.byteLength)
    }
    return this.#sink.push(offset, bytes)
  }

  async whenRoom(): Promise<void> {
    await this.#sink.whenRoom()
  }
}
