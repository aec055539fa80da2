import type { Manifest } from '../chunks/manifest.ts'
import { toHex } from '../lib/bytes.ts'
import type { Logger } from '../lib/logger.ts'
import { toError } from '../lib/to-error.ts'
import type { SwarmService } from '../peer/swarm/swarm-service.ts'
import { rootOf } from './image-catalogue.ts'
import type { ImageClaims } from './image-claims.ts'

export interface ServedImagesComponents {
  readonly swarm: Pick<SwarmService, 'hold' | 'release'>
  readonly claims: ImageClaims
  readonly log: Logger
}

/** Has the swarm announce and serve the images of the cache that were used last. */
export class ServedImages {
  readonly #components: ServedImagesComponents
  readonly #maxServed: number
  /** Those used last at the end. */
  readonly #keys = new Set<string>()

  constructor(components: ServedImagesComponents, maxServed: number) {
    this.#components = components
    this.#maxServed = maxServed
  }

  /** Has an image served, and no more than so many; those in use are, however many they are. */
  async serve(manifest: Manifest): Promise<void> {
    const { swarm, claims, log } = this.#components
    const key = toHex(manifest.root)
    this.#keys.delete(key)
    this.#keys.add(key)
    for (const other of this.#keys) {
      if (this.#keys.size <= this.#maxServed) break
      if (!claims.has(other)) await this.end(other)
    }
    try {
      await swarm.hold(manifest)
    } catch (error) {
      log.info('image %s is not served: %e', key.slice(0, 16), toError(error))
    }
  }

  /** Has an image served no more. */
  async end(key: string): Promise<void> {
    this.#keys.delete(key)
    await this.#components.swarm.release(rootOf({ key }))
  }
}
