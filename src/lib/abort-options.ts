/** Options of everything that waits: the signal ends it, with its reason. */
export interface AbortOptions {
  readonly signal?: AbortSignal | undefined
}
