import { mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { chunkKey } from '../chunks/chunk-id.ts'
import { ChunkList } from '../chunks/chunk-list.ts'
import { buildManifest, type Manifest } from '../chunks/manifest.ts'
import { loadManifest } from '../chunks/manifest-load.ts'
import type { ChunkId } from '../chunks/types.ts'
import { readFileIfThere } from '../lib/atomic-file.ts'
import { fromHex, toHex } from '../lib/bytes.ts'
import type { Logger } from '../lib/logger.ts'
import { toError } from '../lib/to-error.ts'
import type { SignedEnvelope } from '../metadata/signature-types.ts'
import { decodeEnvelope, encodeEnvelope } from '../metadata/signed.ts'

/** A version whose content an image is. */
export interface ImageName {
  readonly path: string
  readonly version: number
  /** Its signed record. */
  readonly record: SignedEnvelope
}

/** An image that this agent has in its cache, whole or in part. */
export interface CatalogueEntry {
  /** Manifest root, in hexadecimal. */
  readonly key: string
  readonly bytes: number
  readonly chunkBytes: number
  /** Bytes of its different chunks, without zeros. */
  readonly dataBytes: number
  /** Versions that it was asked for as, the last one first. */
  readonly names: readonly ImageName[]
  /** When it was last used, milliseconds since the epoch. */
  readonly usedMs: number
}

/** Several versions and clones may have the same content; so many are remembered. */
const MAX_NAMES = 16
const FORMAT = 1
const FILE_NAME = /^([0-9a-f]{64})\.(json|ids)$/

const entrySchema = z.object({
  format: z.literal(FORMAT),
  bytes: z.number().int().nonnegative(),
  chunkBytes: z.number().int().positive(),
  dataBytes: z.number().int().nonnegative(),
  usedMs: z.number(),
  names: z
    .array(z.object({ path: z.string(), version: z.number().int(), record: z.base64() }))
    .max(MAX_NAMES)
})

/**
 * Remembers on disk which images this agent has in its cache, with their signed records and
 * manifests, so that they are served again after a start, also when nobody else can be asked.
 *
 * ```text
 * DIR/ROOT.json   {"format":1,"bytes","chunkBytes","dataBytes","usedMs","names":[{"path","version","record"}]},
 *                 record: the envelope in base64; replaced as a whole
 * DIR/ROOT.ids    the image's chunk ids, 32 bytes each; there before ROOT.json and gone after it
 * ```
 *
 * Files are not flushed: what a power cut spoils is found out by the ids, whose manifest must have
 * this root, and forgotten. The chunks are a cache.
 */
export class ImageCatalogue {
  readonly #folder: string
  readonly #log: Logger
  readonly #entries = new Map<string, CatalogueEntry>()

  constructor(folder: string, log: Logger) {
    this.#folder = folder
    this.#log = log
  }

  /** Reads what is there, and removes what a crash left of others. */
  async start(): Promise<void> {
    await mkdir(this.#folder, { recursive: true, mode: 0o700 })
    for (const name of await readdir(this.#folder)) {
      const [, key = '', kind] = FILE_NAME.exec(name) ?? []
      if (kind === 'json') await this.#load(key)
      else if (kind === undefined) await rm(join(this.#folder, name), { force: true })
    }
    for (const name of await readdir(this.#folder)) {
      const [, key = ''] = FILE_NAME.exec(name) ?? []
      if (!this.#entries.has(key)) await rm(join(this.#folder, name), { force: true })
    }
  }

  get size(): number {
    return this.#entries.size
  }

  /** All images, in no order. */
  entries(): CatalogueEntry[] {
    return Array.from(this.#entries.values())
  }

  /** All images, those used last first. */
  byUse(): CatalogueEntry[] {
    return this.entries().toSorted((left, right) => right.usedMs - left.usedMs)
  }

  get(key: string): CatalogueEntry | undefined {
    return this.#entries.get(key)
  }

  /** The image of a version, or of the newest version of the path that is here. */
  find(path: string, version?: number): ImageName | undefined {
    const names = this.entries().flatMap((entry) => entry.names)
    return names
      .filter((name) => name.path === path && (version === undefined || name.version === version))
      .toSorted((left, right) => right.version - left.version)[0]
  }

  /** Adds an image. */
  async add(manifest: Manifest, entry: Omit<CatalogueEntry, 'key'>): Promise<void> {
    const key = toHex(manifest.root)
    await this.#write(`${key}.ids`, manifest.ids.bytes)
    await this.#save({ ...entry, key })
  }

  /** Notes that an image was used, and as what if that is told. */
  async touch(key: string, usedMs: number, name?: ImageName): Promise<void> {
    const entry = this.#entries.get(key)
    if (entry === undefined) return
    const others = entry.names.filter(
      ({ path, version }) => path !== name?.path || version !== name.version
    )
    const names = name === undefined ? others : [name, ...others].slice(0, MAX_NAMES)
    await this.#save({ ...entry, names, usedMs: Math.max(usedMs, entry.usedMs) })
  }

  /** Forgets an image. From the first moment on it is not there any more, also after a crash. */
  async remove(key: string): Promise<void> {
    this.#entries.delete(key)
    for (const kind of ['json', 'ids']) {
      await rm(join(this.#folder, `${key}.${kind}`), { force: true })
    }
  }

  /** The verified manifest of an image; undefined if it is not here, or its file is damaged. */
  async manifest(root: ChunkId): Promise<Manifest | undefined> {
    const key = toHex(root)
    const entry = this.#entries.get(key)
    const packed = entry && (await readFileIfThere(join(this.#folder, `${key}.ids`)))
    if (entry === undefined || packed === undefined) return undefined
    try {
      const { pages } = buildManifest(new ChunkList(packed), entry.bytes, entry.chunkBytes)
      const byId = new Map(pages.map((page) => [chunkKey(page.id), page.bytes]))
      const fetch = async (ids: readonly ChunkId[]): Promise<Uint8Array[]> =>
        ids.map((id) => byId.get(chunkKey(id)) ?? new Uint8Array(0))
      return await loadManifest(root, fetch)
    } catch (error) {
      this.#log.info('the manifest of cached image %s is damaged: %e', key, toError(error))
      return undefined
    }
  }

  async #load(key: string): Promise<void> {
    const file = join(this.#folder, `${key}.json`)
    try {
      const text = Buffer.from((await readFileIfThere(file)) ?? []).toString('utf8')
      const { names, ...rest } = entrySchema.parse(JSON.parse(text))
      const opened = names.map(({ path, version, record }) => ({
        path,
        version,
        record: decodeEnvelope(new Uint8Array(Buffer.from(record, 'base64')))
      }))
      const { bytes, chunkBytes, dataBytes, usedMs } = rest
      this.#entries.set(key, { key, bytes, chunkBytes, dataBytes, usedMs, names: opened })
    } catch (error) {
      this.#log.info('%s is damaged and removed: %e', file, toError(error))
    }
  }

  async #save(entry: CatalogueEntry): Promise<void> {
    const { key, names, ...rest } = entry
    const kept = names.map(({ path, version, record }) => ({
      path,
      version,
      record: Buffer.from(encodeEnvelope(record)).toString('base64')
    }))
    this.#entries.set(key, entry)
    await this.#write(`${key}.json`, JSON.stringify({ format: FORMAT, ...rest, names: kept }))
  }

  async #write(name: string, content: string | Uint8Array): Promise<void> {
    const path = join(this.#folder, name)
    await writeFile(`${path}.tmp`, content, { mode: 0o600 })
    await rename(`${path}.tmp`, path)
  }
}

/** The manifest root that a key names. */
export function rootOf({ key }: Pick<CatalogueEntry, 'key'>): ChunkId {
  return fromHex(key)
}
