import type { AskReason } from './ask-reason.ts'
import type { DownloadProgress } from './download-types.ts'
import type { WaitReason } from './errors.ts'
import type { LeaveReason } from './events.ts'
import { type ImageSummary, summarise } from './image-summary.ts'
import { describeMissing, type MissingDescription } from './missing.ts'
import type { Neighbour } from './neighbour.ts'
import type { ForgottenPeers, PeerAccount } from './peer-account.ts'
import type { AskCount, RunAccount } from './run-account.ts'
import type { ImageSession } from './session.ts'

/** What went to and came from another agent for one image. */
export interface PeerDescription {
  readonly peerId: string
  /** It wanted nothing when it came. */
  readonly isSource: boolean
  readonly isProvider: boolean
  /** Failure domain that it said it is in; empty if it did not. */
  readonly zone: string
  readonly bytesReceived: number
  readonly bytesSent: number
  /** Bytes of chunks that came for nothing. */
  readonly bytesWasted: number
  /** From a request to the last byte of its chunk, of late; 0 before the first. */
  readonly answerMs: number
  /** Times that it lost its requests because it was silent. */
  readonly silences: number
}

/** A neighbour as the CLI shows it. */
export interface NeighbourDescription extends PeerDescription {
  readonly roles: readonly string[]
  readonly wants: boolean
  /** This agent opened the channel. */
  readonly isDialled: boolean
  readonly sinceMs: number
  /** Different chunks that it holds. */
  readonly chunksHeld: number
  readonly receivedPerSecond: number
  readonly sentPerSecond: number
  readonly bytesInFlight: number
  /** Requests of it that wait for their chunk. */
  readonly waitingRequests: number
  readonly failures: number
}

/** An agent that was a neighbour. */
export interface LeftDescription extends PeerDescription {
  readonly reason: LeaveReason
}

/** The download that runs, or what the last one did. */
export interface RunDescription {
  readonly state: 'running' | 'finished' | 'failed'
  /** Code of the error that it ended with. */
  readonly code?: string
  readonly elapsedMs: number
  readonly firstChunkMs?: number
  readonly bytesFromProviders: number
  readonly bytesFromPeers: number
  readonly bytesReused: number
  readonly zeroBytes: number
  /** Bytes that came and were not needed any more, or were wrong. */
  readonly duplicateBytes: number
  readonly wrongBytes: number
  /** Bytes a second since the start. */
  readonly averagePerSecond: number
  /** Requests and what came, by why that neighbour was asked: of all, and of sources alone. */
  readonly asked: Readonly<Partial<Record<AskReason, AskCount>>>
  readonly askedAtSources: Readonly<Partial<Record<AskReason, AskCount>>>
  /** Milliseconds in which nothing came, by what was waited for; the wait that goes on is not in it. */
  readonly waitedMs: Readonly<Partial<Record<WaitReason, number>>>
}

/** What goes out. */
export interface UploadsDescription {
  readonly bytesSent: number
  readonly sentPerSecond: number
  /** Neighbours that wait for chunks, and their requests. */
  readonly busySlots: number
  readonly waitingRequests: number
}

/** Bytes a second that the whole agent may send and receive; 0 for no limit. */
export interface RateLimits {
  readonly uploadRate: number
  readonly downloadRate: number
}

/** One image's swarm as this agent sees it. */
export interface SwarmDescription extends ImageSummary {
  readonly chunkBytes: number
  readonly missing: MissingDescription
  readonly download?: RunDescription
  readonly uploads: UploadsDescription
  readonly limits: RateLimits
  readonly neighbours: readonly NeighbourDescription[]
  readonly left: readonly LeftDescription[]
  readonly forgotten: ForgottenPeers
}

/** What is described: a session, how far its download is or was, and when, monotonic. */
export interface DescribedImage {
  readonly session: ImageSession
  readonly progress: DownloadProgress
  readonly limits: RateLimits
  readonly nowMs: number
}

/** Describes an image's swarm. */
export function describeSession(described: DescribedImage): SwarmDescription {
  const { session, progress, limits, nowMs } = described
  const { accounts } = session
  const { run } = accounts
  return {
    ...summarise(session),
    chunkBytes: session.table.manifest.chunkBytes,
    missing: describeMissing(session),
    ...(run === undefined ? {} : { download: describeRun(run, progress, nowMs) }),
    uploads: describeUploads(session),
    limits,
    neighbours: Array.from(session.neighbours.values(), (neighbour) =>
      describeNeighbour(session, neighbour, nowMs)
    ),
    left: accounts.peers().flatMap((account) => {
      const { leftBecause: reason } = account
      return reason === undefined ? [] : [{ ...describePeer(account), reason }]
    }),
    forgotten: accounts.forgotten
  }
}

function describeRun(run: RunAccount, progress: DownloadProgress, nowMs: number): RunDescription {
  const { ending, startedMs, firstChunkMs } = run
  const elapsedMs = (ending.state === 'running' ? nowMs : ending.endedMs) - startedMs
  const { bytesFromProviders, bytesFromPeers, bytesReused, zeroBytes } = progress
  return {
    state: ending.state,
    ...(ending.state === 'failed' ? { code: ending.code } : {}),
    elapsedMs: Math.round(elapsedMs),
    ...(firstChunkMs === undefined ? {} : { firstChunkMs: Math.round(firstChunkMs) }),
    bytesFromProviders,
    bytesFromPeers,
    bytesReused,
    zeroBytes,
    duplicateBytes: run.duplicateBytes,
    wrongBytes: run.wrongBytes,
    averagePerSecond: elapsedMs > 0 ? Math.round((run.receivedBytes * 1000) / elapsedMs) : 0,
    asked: run.asked(),
    askedAtSources: run.askedAtSources(),
    waitedMs: run.waited()
  }
}

function describeUploads(session: ImageSession): UploadsDescription {
  const waiting = Array.from(session.neighbours.values(), (each) => session.waitingRequests(each))
  return {
    bytesSent: session.accounts.sentBytes,
    sentPerSecond: Math.round(session.accounts.sentPerSecond()),
    busySlots: waiting.filter((requests) => requests > 0).length,
    waitingRequests: waiting.reduce((sum, requests) => sum + requests, 0)
  }
}

function describePeer(account: PeerAccount): PeerDescription {
  return {
    peerId: account.peerId,
    isSource: account.isSource,
    isProvider: account.isProvider,
    zone: account.zone,
    bytesReceived: account.receivedBytes,
    bytesSent: account.sentBytes,
    bytesWasted: account.wastedBytes,
    answerMs: Math.round(account.answerMs),
    silences: account.silences
  }
}

function describeNeighbour(
  session: ImageSession,
  neighbour: Neighbour,
  nowMs: number
): NeighbourDescription {
  const account = session.accounts.peer(neighbour.peerId)
  const { scorecard } = neighbour
  return {
    ...describePeer(account),
    isSource: neighbour.isSource,
    roles: Array.from(neighbour.member.roles),
    wants: neighbour.wants,
    isDialled: account.isDialled,
    sinceMs: Math.round(nowMs - account.joinedMs),
    chunksHeld: neighbour.heldCount,
    receivedPerSecond: Math.round(scorecard.ratePerSecond(nowMs)),
    sentPerSecond: Math.round(account.sentPerSecond(nowMs)),
    bytesInFlight: session.downloader?.inFlightBytes(neighbour.peerId) ?? 0,
    waitingRequests: session.waitingRequests(neighbour),
    failures: scorecard.failures
  }
}
