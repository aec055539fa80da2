import { type NoiseComponents, noise } from '@chainsafe/libp2p-noise'
import type { ConnectionEncrypter, MessageStream } from '@libp2p/interface'
import { Uint8ArrayList } from 'uint8arraylist'
import { noiseCrypto } from './noise-crypto.ts'
import type { StreamBytes } from './stream-io.ts'

/** What is told when a connection turns to noise. */
export interface NoiseWatcher {
  /** `queued`, which was taken out of the connection, and what comes after it are frames of noise. */
  begin(connection: MessageStream, queued: Uint8Array): void
  /** From now on the library deciphers each message in the call that delivers it. */
  secured(connection: MessageStream): void
}

/** libp2p's noise, with our cryptography and with somebody who is told when it begins. */
export function framedNoise(
  watcher: NoiseWatcher
): (components: NoiseComponents) => ConnectionEncrypter {
  const watched =
    (secure: ConnectionEncrypter['secureInbound']): ConnectionEncrypter['secureInbound'] =>
    async (connection, options) => {
      watcher.begin(connection, await takeQueued(connection))
      const secured = await secure(connection, options)
      watcher.secured(connection)
      replaceDecoder(secured.connection)
      return secured
    }
  return (components) => {
    const encrypter = noise({ crypto: noiseCrypto })(components)
    return Object.assign(encrypter, {
      secureInbound: watched(encrypter.secureInbound.bind(encrypter)),
      secureOutbound: watched(encrypter.secureOutbound.bind(encrypter))
    })
  }
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

/** Takes the place of the library's decoder, which has decoded nothing yet or only whole frames. */
function replaceDecoder(secured: MessageStream): void {
  Object.assign(secured, { decoder: new FrameCutter() })
}
