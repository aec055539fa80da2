import type { RequestClass } from '../protocols/swarm.ts'
import type { AskReason } from './ask-reason.ts'
import type { WaitReason } from './errors.ts'

/** Why a neighbour is no longer one. */
export type LeaveReason =
  | 'ended'
  | 'goodbye'
  | 'idle'
  | 'duplicate'
  | 'silent'
  | 'lied'
  | 'violation'
  | 'flooding'
  | 'failing'
  | 'closed'

/** What every event of the swarm is about: the manifest root in hexadecimal. */
interface OfImage {
  readonly image: string
}

/** A chunk at or from a neighbour. */
interface OfChunk extends OfImage {
  readonly chunk: number
  readonly peer: string
  readonly bytes: number
}

/** A chunk came, is right and is being stored. */
export interface ChunkReceivedEvent extends OfChunk {
  readonly event: 'chunk-received'
  /** A provider's bytes are counted apart from those of other agents. */
  readonly from: 'provider' | 'peer'
  readonly requestClass: RequestClass
  readonly reason: AskReason
  /** From the request to the last byte. */
  readonly ms: number
}

/** A chunk came for nothing. */
export interface ChunkRejectedEvent extends OfChunk {
  readonly event: 'chunk-rejected'
  readonly reason: 'wrong bytes' | 'not needed'
}

/** All of a chunk was sent. */
export interface ChunkSentEvent extends OfChunk {
  readonly event: 'chunk-sent'
}

export interface NeighbourJoinedEvent extends OfImage {
  readonly event: 'neighbour-joined'
  readonly peer: string
  /** It wanted nothing when it came. */
  readonly isSource: boolean
  readonly isProvider: boolean
  /** This agent opened the channel. */
  readonly isDialled: boolean
  /** Failure domain that it said it is in; empty if it did not. */
  readonly zone: string
  /** Different chunks that it had when it came. */
  readonly chunks: number
}

export interface NeighbourLeftEvent extends OfImage {
  readonly event: 'neighbour-left'
  readonly peer: string
  readonly reason: LeaveReason
}

/** A neighbour sent nothing for too long: what it was asked for is asked of others. */
export interface NeighbourSilentEvent extends OfImage {
  readonly event: 'neighbour-silent'
  readonly peer: string
  /** Requests that it lost. */
  readonly requests: number
}

export interface DownloadStartedEvent extends OfImage {
  readonly event: 'download-started'
  readonly bytes: number
  readonly chunks: number
  /** Chunks that the store has, zeros included. */
  readonly held: number
}

/** What a download was and cost; the four byte counts add up to the image's size. */
export interface DownloadFinishedEvent extends OfImage {
  readonly event: 'download-finished'
  readonly ms: number
  /** From the start to the first chunk; absent if none came. */
  readonly firstChunkMs?: number | undefined
  readonly bytesFromProviders: number
  readonly bytesFromPeers: number
  readonly bytesReused: number
  readonly zeroBytes: number
  /** Bytes of chunks that came for nothing. */
  readonly wastedBytes: number
  /** Requests that went out, by reason. */
  readonly asked: Readonly<Partial<Record<AskReason, number>>>
}

export interface DownloadFailedEvent extends OfImage {
  readonly event: 'download-failed'
  readonly code: string
  readonly ms: number
}

/** Nothing has come for a second or more, or the reason for that has changed. */
export interface DownloadWaitingEvent extends OfImage {
  readonly event: 'download-waiting'
  readonly reason: WaitReason
  /** Who is waited for, some of them. */
  readonly peers: readonly string[]
}

/** A wait is over, or goes on for another reason. */
export interface DownloadWaitedEvent extends OfImage {
  readonly event: 'download-waited'
  readonly reason: WaitReason
  /** How long it was waited for that. */
  readonly ms: number
}

/** Nothing came for too long, and all is looked for anew. */
export interface DownloadStuckEvent extends OfImage {
  readonly event: 'download-stuck'
  readonly reason: WaitReason
  /** How long nothing has come. */
  readonly ms: number
}

/** What the swarm tells tools and experiments. */
export type SwarmEvent =
  | ChunkReceivedEvent
  | ChunkRejectedEvent
  | ChunkSentEvent
  | NeighbourJoinedEvent
  | NeighbourLeftEvent
  | NeighbourSilentEvent
  | DownloadStartedEvent
  | DownloadFinishedEvent
  | DownloadFailedEvent
  | DownloadWaitingEvent
  | DownloadWaitedEvent
  | DownloadStuckEvent
