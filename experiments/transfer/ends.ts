/** One end of a transfer, as the process `end.ts` runs it. */
export interface End {
  /** Where others connect to. */
  readonly address: string
  /** Port that it listens on itself, if others are told another one. */
  readonly ownPort?: number
  /** Ids of the chunks that this end made, in hexadecimal. */
  readonly ids?: string
  /** Takes everything from ends at these addresses. @returns how long that took. */
  fetch(addresses: readonly string[], ids: string): Promise<number>
  /** Leaves the image's swarm. */
  forget?(ids: string): Promise<void>
  stop(): Promise<void>
}

/** What an end is told when it is made. */
export interface EndSettings {
  readonly kind: 'raw' | 'bare' | 'dropped' | 'stored'
  /** Whether it has the bytes at the start. */
  readonly isSource: boolean
  readonly bytes: number
  /** Folder for its chunks, on a tmpfs. */
  readonly folder: string
  /** Key of the cluster's authority: every end is a member by its own word. */
  readonly authoritySeed: string
  /** Bytes a second that it sends at most. */
  readonly uploadRate?: number
  /** Port that others are told instead of its own. */
  readonly announcePort?: number
  /** Where a processor profile is left. */
  readonly profile?: string
}

/** What an end answers to. */
export type Call =
  | { readonly call: 'fetch'; readonly addresses: readonly string[]; readonly ids: string }
  | { readonly call: 'usage' }
  | { readonly call: 'stop' }

/** Processor seconds, and what the process holds in memory at most. */
export interface Usage {
  readonly user: number
  readonly system: number
  readonly peakMib: number
}
