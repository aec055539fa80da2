import { type NoiseComponents, noise } from '@chainsafe/libp2p-noise'
import type { ConnectionEncrypter, MessageStream, PrivateKey } from '@libp2p/interface'
import { Uint8ArrayList } from 'uint8arraylist'
import { equalBytes } from '../lib/bytes.ts'
import { toError } from '../lib/to-error.ts'
import { noiseCrypto } from './noise-crypto.ts'
import type { StreamBytes } from './stream-writing.ts'

/** What is told when a connection turns to noise. */
export interface NoiseWatcher {
  /** `queued`, which was taken out of the connection, and what comes after it are frames of noise. */
  begin(connection: MessageStream, queued: Uint8Array): void
  /** From now on the library deciphers each message in the call that delivers it, and `read` does without it. */
  secured(connection: MessageStream, read: FrameReader): void
}

/** Deciphers one whole frame and hands on what it says before it returns; the frame may change afterwards. */
export type FrameReader = (frame: Uint8Array) => void

/** libp2p's noise, with our cryptography and with somebody who is told when it begins. */
export function framedNoise(
  watcher: NoiseWatcher
): (components: NoiseComponents) => ConnectionEncrypter {
  const watched =
    (secure: ConnectionEncrypter['secureInbound']): ConnectionEncrypter['secureInbound'] =>
    async (connection, options) => {
      watcher.begin(connection, await takeQueued(connection))
      const secured = await secure(connection, options)
      replaceDecoder(secured.connection)
      watcher.secured(connection, readerOf(secured.connection))
      return secured
    }
  return (components) => {
    const { peerId, logger, privateKey } = components
    const encrypter = noise({ crypto: noiseCrypto })({
      peerId,
      logger,
      privateKey: signingOnce(privateKey),
      // Not there yet.
      get upgrader() {
        return components.upgrader
      }
    })
    return Object.assign(encrypter, {
      secureInbound: watched(encrypter.secureInbound.bind(encrypter)),
      secureOutbound: watched(encrypter.secureOutbound.bind(encrypter))
    })
  }
}

/**
 * A key that gives the same signature again without computing it: of each handshake it signs the same, the
 * static key of noise, of which a node has one as long as it runs.
 */
export function signingOnce(key: PrivateKey): PrivateKey {
  let known: { readonly bytes: Uint8Array; readonly signature: Uint8Array } | undefined
  const sign: PrivateKey['sign'] = async (bytes, options) => {
    const whole = bytes.slice()
    if (known !== undefined && equalBytes(known.bytes, whole)) return known.signature
    const signature = await key.sign(whole, options)
    known = { bytes: whole, signature }
    return signature
  }
  return Object.create(key, { sign: { value: sign } }) as PrivateKey
}

/** What came together with the end of the protocol's negotiation. */
async function takeQueued(connection: MessageStream): Promise<Uint8Array> {
  let queued = new Uint8Array()
  if (connection.readBufferLength === 0) return queued
  const onMessage = ({ data }: { data: StreamBytes }): void => {
    queued = data.slice()
  }
  // A new listener is given what is queued in a microtask of its own, or never.
  connection.addEventListener('message', onMessage)
  const { promise, resolve } = Promise.withResolvers<void>()
  queueMicrotask(resolve)
  await promise
  connection.removeEventListener('message', onMessage)
  return queued
}

/**
 * Cuts frames of a 16-bit length and a message apart. The library's own finds out that there is no further one
 * by an error, which costs more than all the rest of its work.
 */
class FrameCutter {
  readonly #pending = new Uint8ArrayList()

  decode(bytes: StreamBytes): Uint8ArrayList[] {
    const messages: Uint8ArrayList[] = []
    this.#pending.append(bytes)
    while (this.#pending.byteLength >= 2) {
      const end = 2 + this.#pending.get(0) * 256 + this.#pending.get(1)
      if (this.#pending.byteLength < end) break
      if (end > 2) messages.push(this.#pending.sublist(2, end))
      this.#pending.consume(end)
    }
    return messages
  }
}

/**
 * Past the event of the connection beneath and past the decoder, which cost a short message more than its
 * cipher. For frames that come while nothing is queued in the connection.
 */
function readerOf(secured: MessageStream): FrameReader {
  const inside = secured as unknown as {
    decrypt(message: Uint8Array): Uint8ArrayList
    onData(bytes: Uint8ArrayList): void
  }
  return (frame) => {
    try {
      inside.onData(inside.decrypt(frame.subarray(2)))
    } catch (error) {
      secured.abort(toError(error))
    }
  }
}

/** Takes the place of the library's decoder, which has decoded nothing yet or only whole frames. */
function replaceDecoder(secured: MessageStream): void {
  Object.assign(secured, { decoder: new FrameCutter() })
}
