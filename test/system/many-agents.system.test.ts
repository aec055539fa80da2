import { afterEach, expect, test } from '@jest/globals'
import { MIB } from '../../src/lib/bytes.ts'
import { ManyAgents } from '../support/many-agents.ts'

const WITHIN_MS = 60_000

// As `npm run soak:agents`, which has 50 hypervisors and a larger image.
let stage: ManyAgents | undefined
afterEach(async () => stage?.stop())

test(
  'finds everybody again after all bootstrap nodes have restarted, and so does who joins then',
  async () => {
    const many = await ManyAgents.start({
      hypervisors: 2,
      imageBytes: 2 * MIB,
      withinMs: WITHIN_MS
    })
    stage = many
    await many.pullAll()

    await many.restartBootstraps()
    await Promise.all(many.hypervisors.map(async (agent) => many.connected(agent)))
    const [first] = many.hypervisors
    const late = await many.join()
    const pulled = await many.pull(late)

    expect(pulled.bytes).toBe(2 * MIB)
    expect(await many.neighboursOf(late)).toContain(first?.ready.peerId)
  },
  2 * WITHIN_MS
)
