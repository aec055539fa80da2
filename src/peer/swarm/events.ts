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
  | 'failing'
  | 'closed'

/** What the swarm tells tools and experiments. `image` is the manifest root in hexadecimal. */
export type SwarmEvent =
  | {
      readonly event: 'chunk-received'
      readonly image: string
      readonly chunk: number
      readonly peer: string
      readonly bytes: number
      /** From the request to the last byte. */
      readonly ms: number
    }
  | {
      readonly event: 'chunk-rejected'
      readonly image: string
      readonly chunk: number
      readonly peer: string
      readonly reason: 'wrong bytes' | 'not needed'
    }
  | {
      readonly event: 'chunk-sent'
      readonly image: string
      readonly chunk: number
      readonly peer: string
      readonly bytes: number
    }
  | { readonly event: 'neighbour-joined'; readonly image: string; readonly peer: string }
  | {
      readonly event: 'neighbour-left'
      readonly image: string
      readonly peer: string
      readonly reason: LeaveReason
    }
  | {
      readonly event: 'download-started'
      readonly image: string
      readonly bytes: number
      readonly chunks: number
      readonly held: number
    }
  | {
      readonly event: 'download-finished'
      readonly image: string
      readonly ms: number
      readonly bytesFromProviders: number
      readonly bytesFromPeers: number
      readonly bytesReused: number
      readonly zeroBytes: number
    }
  | { readonly event: 'download-failed'; readonly image: string; readonly code: string }
  | {
      readonly event: 'download-waiting'
      readonly image: string
      readonly reason: WaitReason
    }
