/** A way to get the image from host 0 to all others, under measurement. */
export interface Swarm {
  /** Prepares all that runs before the start signal. */
  start(): Promise<void>
  /** Lets what runs do its work once, over the limited links, if that changes it. */
  warmUp?(): Promise<void>
  /**
   * Has a host fetch the image.
   *
   * @returns when it is there, whole and verified by its client, in milliseconds of `performance.now()`.
   * @throws {Error} if the host fails or is killed meanwhile.
   */
  fetch(host: number, signal: AbortSignal): Promise<number>
  /** `kill -9` of all that runs on the host; 0 is the source. */
  kill(host: number): Promise<void>
  /** Starts a killed host by the same command line; its fetch has to be asked for again. */
  restart(host: number): Promise<void>
  /** Where the host's copy is. */
  file(host: number): string
  /** Bytes of the image that were known before; of random ones there are none. */
  reusedBytes(): number
  /** Ends everything that `start` and `fetch` have begun. */
  stop(): Promise<void>
}
