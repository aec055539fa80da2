/**
 * Commits versions, makes folders and short files, and pins, holds, clones and forgets one after the other and
 * prints a line for each once it is acknowledged, until it is killed. Run by local-version-manager-crash.test.ts: node
 * commit-loop.ts FOLDER
 */
import { setTimeout } from 'node:timers/promises'
import { systemClock } from '../../src/lib/clock.ts'
import { noLogger } from '../../src/lib/logger.ts'
import { systemRandom } from '../../src/lib/random.ts'
import { LeafListBuilder } from '../../src/metadata/leaf-list.ts'
import { encodeLeafList } from '../../src/metadata/leaf-list-codec.ts'
import { LocalVersionManager } from '../../src/metadata/local-version-manager.ts'
import { MemoryMetadataStore } from '../../src/metadata/memory-node-store.ts'
import { gullible, plainSigner } from './plain-signing.ts'

const folder = process.argv[2] ?? '.'
const metadata = new MemoryMetadataStore({ verifier: gullible })
const versions = new LocalVersionManager(
  {
    metadata,
    signer: plainSigner('manager'),
    verifier: gullible,
    sealer: { seal: () => Promise.reject(new Error('nothing is sealed here')) },
    clock: systemClock,
    random: systemRandom,
    logger: noLogger,
    onFailure: (error) => {
      throw error
    }
  },
  { folder, leaseMs: 100, sealIdleMs: 3_600_000 }
)
await versions.start()
const [leafList] = encodeLeafList(new LeafListBuilder().build())
if (leafList === undefined) throw new Error('no leaf list')
await metadata.putPages([leafList])
const path = '/images/debian'
const { blob } = await versions.namespace.reserve(path, { chunkBytes: 65_536, replicas: 1 })

async function commitLoop(): Promise<void> {
  for (;;) {
    const request = { blob, writer: 'writer', ranges: [], endBytes: 0, truncates: true, path }
    const { ticket } = await versions.assign({ ...request, leafList: leafList!.id })
    console.log(`assigned ${ticket.version}`)
    await versions.commit(blob, ticket.version)
    console.log(`committed ${ticket.version}`)
  }
}

async function shortFileLoop(): Promise<void> {
  const { id, bytes } = leafList!
  const request = { chunkBytes: 65_536, replicas: 1, writer: 'writer', endBytes: 0, leafList: id }
  for (let number = 0; ; number++) {
    const name = `/short/${process.pid}/${number}`
    await versions.namespace.publishFile({ ...request, path: name, leafPages: [bytes] })
    console.log(`made ${name}`)
  }
}

async function folderLoop(): Promise<void> {
  for (let number = 0; ; number++) {
    const name = `/${process.pid}-${number}`
    await versions.namespace.makeDirectory(name)
    console.log(`made ${name}`)
  }
}

async function retentionLoop(): Promise<void> {
  while ((await versions.latest(blob)) === undefined) await setTimeout(1)
  for (let number = 0; ; number++) {
    const { version = 0 } = (await versions.latest(blob)) ?? {}
    const name = `/clone-${process.pid}-${number}`
    await versions.setPinned({ blob, version }, true)
    console.log(`pinned ${version}`)
    const hold = { blob, version, holder: 'writer', purpose: `${process.pid} ${number % 100}` }
    await versions.hold({ ...hold, forMs: 3_600_000 })
    console.log(`held ${version}`)
    const clone = await versions.namespace.clone({ blob, version }, name)
    console.log(`cloned ${name}`)
    await versions.namespace.setRetention(name, { last: number + 1 })
    console.log(`kept ${name} ${number + 1}`)
    // A name of its own: whoever was killed between these two left the path behind.
    const passingPath = `/passing-${process.pid}-${number}`
    const passing = await versions.namespace.clone({ blob: clone.blob, version: 0 }, passingPath)
    await versions.namespace.remove(passingPath, { kind: 'file' })
    await versions.collected.applyRetention({ isDryRun: false })
    await versions.collected.forget([passing.blob])
    console.log(`forgot ${passing.blob}`)
  }
}

const loops = [commitLoop(), commitLoop(), commitLoop(), folderLoop(), shortFileLoop()]
await Promise.all([...loops, retentionLoop()])
