import { expect, test } from '@jest/globals'
import { chunkId } from '../../../src/chunks/chunk-id.ts'
import { ChunkList } from '../../../src/chunks/chunk-list.ts'
import type { Manifest } from '../../../src/chunks/manifest.ts'
import { buildManifest } from '../../../src/chunks/manifest.ts'
import { loadManifest } from '../../../src/chunks/manifest-load.ts'
import { KIB } from '../../../src/lib/bytes.ts'
import { SWARM_PROTOCOL } from '../../../src/peer/protocols/swarm.ts'
import { decodeSwarmMessage, encodeSwarmMessage } from '../../../src/peer/protocols/swarm-codec.ts'
import { pagesHandshake } from '../../../src/peer/swarm/meeting.ts'
import { SimulatedAgent } from '../../support/simulated-agent.ts'
import { SimulatedNetwork } from '../../support/simulated-network.ts'
import { VirtualClock } from '../../support/virtual-clock.ts'

async function manifestOf(chunkCount: number): Promise<Manifest> {
  const ids = Array.from({ length: chunkCount }, (_, index) =>
    chunkId(Uint8Array.of(index >> 8, index))
  )
  const { root, pages } = buildManifest(ChunkList.from(ids), chunkCount * 64 * KIB, 64 * KIB)
  const byId = new Map(pages.map(({ id, bytes }) => [Buffer.from(id).toString('hex'), bytes]))
  return await loadManifest(root, async (wanted) =>
    wanted.map((id) => byId.get(Buffer.from(id).toString('hex')) ?? new Uint8Array(0))
  )
}

test('a manifest can be loaded from an agent that holds the image', async () => {
  const clock = new VirtualClock()
  const network = new SimulatedNetwork(clock)
  const manifest = await manifestOf(3000)
  const [holder, other, asker] = ['holder', 'other', 'asker'].map(
    (name) => new SimulatedAgent(network, name)
  ) as [SimulatedAgent, SimulatedAgent, SimulatedAgent]
  await Promise.all([holder.start(), other.start(), asker.start()])
  await holder.service.hold(manifest)
  const { root } = manifest

  const loaded = await clock.until(
    loadManifest(root, async (ids) =>
      asker.service.fetchPages(root, ids, { sources: ['nobody', 'other', 'holder'] })
    )
  )

  expect(loaded.ids.equals(manifest.ids)).toBe(true)
  await clock.advance(10_000)
  await expect(
    clock.until(
      asker.service.fetchPages(root, [new Uint8Array(32).fill(1)], { sources: ['holder'] })
    )
  ).rejects.toMatchObject({ code: 'ERR_PAGES_UNAVAILABLE', asked: ['holder'] })
})

/** Answers as an agent with the image does, but for what the pages are. */
async function serveWrongPages(agent: SimulatedAgent, manifest: Manifest): Promise<void> {
  await agent.node.serve(SWARM_PROTOCOL, async (channel) => {
    await channel.send(encodeSwarmMessage(pagesHandshake(manifest.root)))
    for await (const bytes of channel.messages()) {
      const message = decodeSwarmMessage(bytes)
      if (message.type !== 'pages') continue
      const { request, ids } = message
      for (const place of ids.keys()) {
        const page = new Uint8Array(100)
        await channel.send(encodeSwarmMessage({ type: 'page', request, place, page }))
      }
    }
  })
}

test('who sends a wrong page is named, banned and counted, and the next one is asked', async () => {
  const clock = new VirtualClock()
  const network = new SimulatedNetwork(clock)
  const manifest = await manifestOf(3000)
  const [holder, liar, asker] = ['holder', 'liar', 'asker'].map(
    (name) => new SimulatedAgent(network, name)
  ) as [SimulatedAgent, SimulatedAgent, SimulatedAgent]
  await Promise.all([holder.start(), asker.start()])
  await serveWrongPages(liar, manifest)
  const { root } = manifest
  const ask = async (sources: readonly string[]) =>
    clock.until(asker.service.fetchPages(root, [root], { sources }))

  const alone = await ask(['liar']).catch((error: unknown) => error)
  const again = await ask(['liar']).catch((error: unknown) => error)
  await holder.service.hold(manifest)
  const [page] = await ask(['liar', 'holder'])

  expect(alone).toMatchObject({
    code: 'ERR_PAGES_UNAVAILABLE',
    message: expect.stringContaining('wrong ones came from liar'),
    liars: ['liar'],
    cause: { code: 'ERR_CHUNK_MISMATCH', peer: 'liar' }
  })
  expect(again).toMatchObject({ asked: [], liars: [] })
  expect(chunkId(page ?? new Uint8Array())).toEqual(root)
  const named = asker.log.lines.filter(({ values }) => values.includes('liar'))
  expect(named).toMatchObject([{ level: 'info', format: expect.stringContaining('is banned') }])
  const metric = 'blobswarm_peer_swarm_pages_rejected_total{reason=wrong}'
  expect(asker.metrics.values.get(metric)).toBe(1)
})
