import type { DownloadProgress } from '../peer/swarm/download-types.ts'
import type { Wait } from '../peer/swarm/errors.ts'
import type { OperationProgress } from './operations.ts'

/** How far the download of an image is, as the progress of a pull or prefetch. */
export function transferProgress(
  progress: DownloadProgress,
  totalBytes: number
): OperationProgress {
  const { bytesFromProviders, bytesFromPeers, bytesReused, zeroBytes } = progress
  const { chunksDone, chunksTotal, ratePerSecond, neighbours, etaMs, wait } = progress
  const share = chunksTotal === 0 ? 1 : chunksDone / chunksTotal
  return {
    phase: 'transfer',
    doneBytes: Math.max(
      Math.min(totalBytes, bytesFromProviders + bytesFromPeers + bytesReused + zeroBytes),
      Math.floor(share * totalBytes)
    ),
    totalBytes,
    fromProvidersBytes: bytesFromProviders,
    fromPeersBytes: bytesFromPeers,
    bytesPerSecond: Math.round(ratePerSecond),
    neighbours,
    ...(etaMs === undefined ? {} : { etaSeconds: seconds(etaMs) }),
    ...(wait === undefined ? {} : waitProgress(wait))
  }
}

/** A wait as it is told to people and tools. */
function waitProgress({ reason, waitedMs, nextInMs, giveUpInMs, peers }: Wait) {
  return {
    waitingFor: reason,
    waitedSeconds: seconds(waitedMs),
    nextInSeconds: seconds(nextInMs),
    ...(giveUpInMs === undefined ? {} : { giveUpInSeconds: seconds(giveUpInMs) }),
    ...(peers.length === 0 ? {} : { waitingPeers: peers })
  }
}

function seconds(ms: number): number {
  return Math.round(ms / 100) / 10
}
