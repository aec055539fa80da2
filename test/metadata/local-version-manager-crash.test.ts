import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, expect, test } from '@jest/globals'
import { systemClock } from '../../src/lib/clock.ts'
import { noLogger } from '../../src/lib/logger.ts'
import { systemRandom } from '../../src/lib/random.ts'
import { LeafListBuilder } from '../../src/metadata/leaf-list.ts'
import { encodeLeafList } from '../../src/metadata/leaf-list-codec.ts'
import { LocalVersionManager } from '../../src/metadata/local-version-manager.ts'
import { MemoryMetadataStore } from '../../src/metadata/memory-node-store.ts'
import type { BlobId, Version } from '../../src/metadata/types.ts'
import { gullible, plainSigner } from '../support/plain-signing.ts'

const PROGRAM = fileURLToPath(new URL('../support/commit-loop.ts', import.meta.url))

let folder: string

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'blobswarm-crash-'))
})

afterEach(async () => {
  await rm(folder, { recursive: true })
})

/** Runs the loop until it has printed that many lines, kills it and gives all that it printed. */
async function runAndKill(lines: number): Promise<string[]> {
  const child = spawn(process.execPath, [PROGRAM, folder], { stdio: ['ignore', 'pipe', 'inherit'] })
  const exited = once(child, 'exit')
  const printed: string[] = []
  for await (const line of createInterface({ input: child.stdout })) {
    printed.push(line)
    if (printed.length === lines) child.kill('SIGKILL')
  }
  await exited
  expect(child.signalCode).toBe('SIGKILL')
  return printed
}

async function openVersions(): Promise<LocalVersionManager> {
  const metadata = new MemoryMetadataStore({ verifier: gullible })
  // What the program was writing when it was killed is finished from this.
  await metadata.putPages(Array.from(encodeLeafList(new LeafListBuilder().build())))
  const versions = new LocalVersionManager(
    {
      metadata,
      signer: plainSigner('manager'),
      verifier: gullible,
      sealer: { seal: () => Promise.reject(new Error('nothing is sealed here')) },
      clock: systemClock,
      random: systemRandom,
      logger: noLogger,
      onFailure: () => {}
    },
    { folder, leaseMs: 100, sealIdleMs: 3_600_000 }
  )
  await versions.start()
  return versions
}

/** Looks for what a line says that was acknowledged. */
async function check(versions: LocalVersionManager, blob: BlobId, line: string): Promise<void> {
  const [word = '', value = '', more] = line.split(' ')
  switch (word) {
    case 'made':
    case 'cloned':
      expect(await versions.namespace.lookup(value)).toMatchObject({ path: value })
      break
    case 'pinned':
      expect(await versions.waitPublished(blob, Number(value))).toMatchObject({ isPinned: true })
      break
    case 'held':
      expect(await heldVersions(versions, blob)).toContain(Number(value))
      break
    case 'kept':
      expect((await versions.namespace.retention(value)).policy).toMatchObject({
        last: Number(more)
      })
      break
    case 'forgot':
      expect(await versions.describe(value)).toBeUndefined()
      break
    case 'assigned':
    case 'committed':
    default:
      await versions.waitPublished(blob, Number(value))
  }
}

/** Versions that would stay if all were retired: the newest, and those that are held. */
async function heldVersions(versions: LocalVersionManager, blob: BlobId): Promise<Version[]> {
  const all = (await versions.history(blob)).map(({ version }) => ({ blob, version }))
  const roots = await versions.collected.roots(all)
  return roots.find((one) => one.blob === blob)?.manifests.slice() ?? []
}

test('kill -9 loses nothing that was acknowledged, again and again', async () => {
  const printed: string[] = []

  for (const lines of [40, 7, 150]) {
    printed.push(...(await runAndKill(lines)))
    const versions = await openVersions()
    try {
      const path = await versions.namespace.lookup('/images/debian')
      const { blob } = path?.kind === 'file' ? path : { blob: '' }
      for (const line of printed) await check(versions, blob, line)
      const { version: newest } = await versions.newest(blob)
      await versions.waitPublished(blob, newest)
      expect((await versions.history(blob)).map(({ version }) => version)).toEqual(
        Array.from({ length: newest }, (_, at) => at + 1)
      )
    } finally {
      await versions.stop()
    }
  }
})
