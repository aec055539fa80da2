import { expect, test } from '@jest/globals'
import { noLogger } from '../../src/lib/logger.ts'
import { nextTurn } from '../../src/lib/turn.ts'
import { SealQueue } from '../../src/metadata/seal-queue.ts'
import type { SealRequest, SignedVersionRecord } from '../../src/metadata/sealing-types.ts'
import { VersionManagerState } from '../../src/metadata/version-manager.ts'
import { signRecord } from '../../src/metadata/version-record.ts'
import { ManualClock } from '../support/manual-clock.ts'
import { testSigner } from '../support/signing.ts'

const CREATE = { chunkBytes: 65_536, replicas: 1 }
const IDLE_MS = 200

/** A queue over blobs that have one version each; what it seals waits until the test lets it. */
function start() {
  const clock = new ManualClock()
  const versions = new VersionManagerState()
  const signer = testSigner()
  const sealed: string[] = []
  let gate = Promise.withResolvers<void>()
  const seal = async ({ description, ...request }: SealRequest): Promise<SignedVersionRecord> => {
    const { version, bytes, parent, timeMs, note } = request
    const { blob, chunkBytes } = description
    sealed.push(blob.replace(/^0+/, ''))
    await gate.promise
    const manifestRoot = new Uint8Array(32)
    const record = { blob, version, bytes, chunkBytes, manifestRoot, parent, timeMs, note }
    return signRecord(signer, { ...record, hashCode: 0x1e })
  }
  const queue = new SealQueue(
    {
      versions,
      sealer: { seal },
      sealClone: async () => await Promise.reject(new Error('no clone')),
      rangesOf: async () => [],
      keep: async (blob, version, envelope) => void versions.sealed(blob, version, envelope),
      clock,
      logger: noLogger.forComponent('test')
    },
    { idleMs: IDLE_MS }
  )
  const publish = (name: string): void => {
    const blob = name.padStart(64, '0')
    const leafList = new Uint8Array(32)
    versions.createBlob(blob, CREATE, 0)
    const request = { blob, writer: 'writer', ranges: [], endBytes: 0, truncates: true, leafList }
    versions.assign(request, 0)
    versions.commit(blob, 1, 0)
    queue.add(blob, 1)
  }
  /** Lets what is being sealed be done, and waits for what follows. */
  const letGo = async (): Promise<void> => {
    await nextTurn()
    gate.resolve()
    gate = Promise.withResolvers<void>()
    await nextTurn()
  }
  return { queue, clock, sealed, publish, letGo }
}

test('seals the newest first when nothing was published for a while', async () => {
  const { queue, clock, sealed, publish, letGo } = start()
  publish('1')
  clock.advance(IDLE_MS - 1)
  publish('2')

  clock.advance(1)
  expect(sealed).toEqual([])
  clock.advance(IDLE_MS)
  await letGo()
  await letGo()

  expect(sealed).toEqual(['2', '1'])
  await queue.stop()
})

test('breaks off while something is published, and goes on after it', async () => {
  const { queue, clock, sealed, publish, letGo } = start()
  for (const name of ['1', '2', '3']) publish(name)
  clock.advance(2 * IDLE_MS)

  publish('4')
  await letGo()
  await letGo()
  expect(sealed).toEqual(['3'])
  clock.advance(IDLE_MS)
  for (let turn = 0; turn < 4; turn++) await letGo()

  expect(sealed).toEqual(['3', '4', '2', '1'])
  await queue.stop()
})
