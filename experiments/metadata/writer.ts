/** A process of writers, forked by run.ts: joins with a token and the agents' addresses, then does as it is told. */
import { seededRandom } from '../../src/lib/random.ts'
import type { BlobId } from '../../src/metadata/types.ts'
import { Member } from '../support/member.ts'
import { oneChunkWrite, publisherOf } from './small-write.ts'

/** Publish until the time is up: one writer for each blob named (which may all be the same). */
export interface WriterOrder {
  readonly blobs: readonly BlobId[]
  /** Chunks of each blob; every version rewrites one of them. */
  readonly chunks: number
  readonly warmUpMs: number
  readonly runMs: number
  readonly seed: number
}

/** Milliseconds that each publish took which ended in the measured time. */
export interface WriterReport {
  readonly latenciesMs: readonly number[]
}

const [token = '', ...addresses] = process.argv.slice(2)
const member = await Member.join(token, addresses)
const metadata = member.openMetadata()
const versions = member.openVersions()
process.on('message', (order: WriterOrder | 'stop') => void obey(order))
process.on('disconnect', () => process.exit(1))
process.send?.('ready')

async function obey(order: WriterOrder | 'stop'): Promise<void> {
  if (order === 'stop') {
    await metadata.idle()
    await Promise.all([metadata.stop(), versions.stop()])
    await member.stop()
    process.exit(0)
  }
  const startMs = performance.now() + order.warmUpMs
  const endMs = startMs + order.runMs
  const latenciesMs: number[] = []
  const publisher = publisherOf({ versions, metadata, signer: member.signer })
  await Promise.all(
    order.blobs.map(async (blob, writer) => {
      const random = seededRandom(order.seed * 1000 + writer)
      const description = await versions.describe(blob)
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
  const report: WriterReport = { latenciesMs }
  process.send?.(report)
}
