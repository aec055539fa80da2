import { seededRandom } from '../../src/lib/random.ts'
import type { BlobId } from '../../src/metadata/types.ts'
import { oneChunkWrite, publisherOf, type WriterParts } from './small-write.ts'

/** Publish until the time is up: one writer for each blob. */
export interface WriterOrder {
  /** Blobs that are there, which may all be the same. */
  readonly blobs: readonly BlobId[]
  /** Blobs to make, and then to write to in place of `blobs`: writer i writes to number `fresh[i]`. */
  readonly fresh?: readonly number[] | undefined
  /** Chunks of each blob; every version rewrites one of them. */
  readonly chunks: number
  readonly chunkBytes: number
  readonly warmUpMs: number
  readonly runMs: number
  readonly seed: number
}

/** Milliseconds that each publish took which ended in the measured time. */
export interface WriterReport {
  readonly latenciesMs: readonly number[]
}

/** Lets writers publish for a while, each one version after the other. */
export async function runOrder(parts: WriterParts, order: WriterOrder): Promise<WriterReport> {
  const blobs = await blobsOf(parts, order)
  const startMs = performance.now() + order.warmUpMs
  const endMs = startMs + order.runMs
  const latenciesMs: number[] = []
  const publisher = publisherOf(parts)
  await Promise.all(
    blobs.map(async (blob, writer) => {
      const random = seededRandom(order.seed * 1000 + writer)
      const description = await parts.versions.describe(blob)
      if (description === undefined) throw new Error(`no blob ${blob}`)
      for (let nowMs = performance.now(); nowMs < endMs; ) {
        const index = Math.floor(random() * order.chunks)
        await publisher.publish(oneChunkWrite(description, index, random))
        const doneMs = performance.now()
        if (doneMs >= startMs && doneMs < endMs) latenciesMs.push(doneMs - nowMs)
        nowMs = doneMs
      }
    })
  )
  return { latenciesMs }
}

async function blobsOf({ versions }: WriterParts, order: WriterOrder): Promise<readonly BlobId[]> {
  if (order.fresh === undefined) return order.blobs
  const { chunkBytes, chunks } = order
  const request = { chunkBytes, replicas: 1, sizeHint: chunks * chunkBytes }
  const made: BlobId[] = []
  while (made.length <= Math.max(...order.fresh))
    made.push((await versions.createBlob(request)).blob)
  return order.fresh.map((number) => made[number] ?? '')
}
