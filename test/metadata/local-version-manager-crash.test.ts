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

test('kill -9 loses nothing that was acknowledged, again and again', async () => {
  const printed: string[] = []

  for (const lines of [40, 7, 150]) {
    printed.push(...(await runAndKill(lines)))
    const versions = await openVersions()
    try {
      const path = await versions.lookup('/images/debian')
      const { blob } = path?.kind === 'file' ? path : { blob: '' }
      for (const line of printed) {
        const [word, value = ''] = line.split(' ')
        if (word === 'made') expect(await versions.lookup(value)).toMatchObject({ path: value })
        else await versions.waitPublished(blob, Number(value))
      }
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
