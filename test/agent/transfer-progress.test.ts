import { expect, test } from '@jest/globals'
import { transferProgress } from '../../src/agent/transfer-progress.ts'

const progress = {
  bytesFromProviders: 10,
  bytesFromPeers: 20,
  bytesReused: 5,
  zeroBytes: 5,
  chunksDone: 4,
  chunksTotal: 10,
  ratePerSecond: 2.4,
  neighbours: 3
}

test('tells where bytes came from, the rate and the time left', () => {
  expect(transferProgress({ ...progress, etaMs: 25_040 }, 100)).toEqual({
    phase: 'transfer',
    doneBytes: 40,
    totalBytes: 100,
    fromProvidersBytes: 10,
    fromPeersBytes: 20,
    bytesPerSecond: 2,
    neighbours: 3,
    etaSeconds: 25
  })
})

test('names a wait, who is waited for, and when something else happens', () => {
  const wait = { waitedMs: 3210, nextInMs: 6790, giveUpInMs: 116_790 }
  const answers = { reason: 'answers', peers: ['a', 'b'], ...wait } as const

  expect(transferProgress({ ...progress, wait: answers }, 100)).toMatchObject({
    waitingFor: 'answers',
    waitedSeconds: 3.2,
    nextInSeconds: 6.8,
    giveUpInSeconds: 116.8,
    waitingPeers: ['a', 'b']
  })
})

test('an empty image is all there', () => {
  const empty = { ...progress, chunksDone: 0, chunksTotal: 0, bytesFromProviders: 0 }

  expect(transferProgress(empty, 0)).toMatchObject({ doneBytes: 0, totalBytes: 0 })
})
