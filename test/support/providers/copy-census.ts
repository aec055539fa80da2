import { Member } from '../../../experiments/support/member.ts'
import type { CopyCondition } from '../../../src/chunks/maintenance-types.ts'
import type { ChunkId } from '../../../src/chunks/types.ts'
import { systemClock } from '../../../src/lib/clock.ts'
import { RemoteProvider } from '../../../src/peer/remote/provider.ts'

/** Who is asked. */
export interface CountedProvider {
  readonly peerId: string
  readonly addresses: readonly string[]
}

/** Chunks by how many intact copies there are. */
export interface CopyCount {
  readonly byCopies: Readonly<Record<number, number>>
  /** Copies that their provider says it has, and has not. */
  readonly damaged: number
}

const MAX_IDS = 256

/** Counts copies where they lie: each provider reads its own disk again and hashes what it finds. */
export class CopyCensus {
  readonly #member: Member

  private constructor(member: Member) {
    this.#member = member
  }

  /** @param token invites a member that may read. */
  static async join(token: string): Promise<CopyCensus> {
    return new CopyCensus(await Member.join(token))
  }

  async stop(): Promise<void> {
    await this.#member.stop()
  }

  async count(ids: readonly ChunkId[], providers: readonly CountedProvider[]): Promise<CopyCount> {
    const copies = ids.map(() => 0)
    let damaged = 0
    for (const provider of providers) {
      for (const [at, condition] of (await this.#conditions(ids, provider)).entries()) {
        if (condition === 'intact') copies[at] = (copies[at] ?? 0) + 1
        else if (condition !== 'absent') damaged += 1
      }
    }
    const byCopies: Record<number, number> = {}
    for (const count of copies) byCopies[count] = (byCopies[count] ?? 0) + 1
    return { byCopies, damaged }
  }

  async #conditions(
    ids: readonly ChunkId[],
    { peerId, addresses }: CountedProvider
  ): Promise<CopyCondition[]> {
    await this.#member.node.connect(addresses[0] ?? '')
    const { node } = this.#member
    const provider = new RemoteProvider({ node, clock: systemClock, peerId })
    try {
      const conditions: CopyCondition[] = []
      for (let from = 0; from < ids.length; from += MAX_IDS) {
        conditions.push(...(await provider.check(ids.slice(from, from + MAX_IDS))))
      }
      return conditions
    } finally {
      await provider.close()
    }
  }
}
