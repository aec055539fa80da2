import type { Manifest } from '../chunks/manifest.ts'
import { toHex } from '../lib/bytes.ts'

interface Claim {
  readonly manifest: Manifest
  users: number
}

/** Knows which images are in use, by how many, and tells who waits when somebody has ended. */
export class ImageClaims {
  readonly #claims = new Map<string, Claim>()
  #released = Promise.withResolvers<void>()

  /** Images in use. */
  get size(): number {
    return this.#claims.size
  }

  /** Resolves when a use ends next. */
  get released(): Promise<void> {
    return this.#released.promise
  }

  has(key: string): boolean {
    return this.#claims.has(key)
  }

  manifests(): Iterable<Manifest> {
    return Iterator.from(this.#claims.values()).map(({ manifest }) => manifest)
  }

  /** Counts one more user of an image. @returns whether it is the first. */
  add(manifest: Manifest): boolean {
    const key = toHex(manifest.root)
    const claim = this.#claims.get(key)
    if (claim === undefined) this.#claims.set(key, { manifest, users: 1 })
    else claim.users++
    return claim === undefined
  }

  /** Takes back what `add` did for a first user who could not be let in. */
  withdraw(key: string): void {
    this.#claims.delete(key)
  }

  /** Ends a use. */
  release(key: string): void {
    const claim = this.#claims.get(key)
    if (claim === undefined) return
    claim.users--
    if (claim.users === 0) this.#claims.delete(key)
    const { resolve } = this.#released
    this.#released = Promise.withResolvers<void>()
    resolve()
  }
}
