import { KIB } from '../../src/lib/bytes.ts'

/** Limits of a host's link, each way, in Mbit/s with all headers from Ethernet on; none if left out. */
export interface LinkLimit {
  readonly upMbit?: number | undefined
  readonly downMbit?: number | undefined
}

/** A token bucket's parameters that do not come from the rate. */
export interface QueueShape {
  readonly mtu: number
  /** Time for which a full queue delays a packet at most; what comes then is dropped. */
  readonly queueMs: number
}

const ETHERNET_HEADER_BYTES = 14
/**
 * The bucket holds what the rate gives in one tick of a kernel with 250 of them a second: with less a full rate is not
 * reached where timers are that coarse, with more the link gives bursts that it does not have.
 */
const TICK_SECONDS = 1 / 250
const MIN_PACKETS = 4
/**
 * As the figures of other systems were measured with. TCP's pieces of up to this size pass the way up as one and become
 * packets behind it; cut before it, each packet of a slow link costs a timer at both of its ends.
 */
const MIN_BYTES = 32 * KIB

/** Bytes that may pass at once after a pause. */
export function burstBytes(rateMbit: number, mtu: number): number {
  const perTick = (rateMbit * 1e6 * TICK_SECONDS) / 8
  return Math.ceil(Math.max(perTick, MIN_BYTES, MIN_PACKETS * (mtu + ETHERNET_HEADER_BYTES)))
}

/**
 * What `tc qdisc` shall do on an interface.
 *
 * @throws {RangeError} unless the rate is a finite number above 0.
 */
export function limitCommand(
  device: string,
  rateMbit: number | undefined,
  { mtu, queueMs }: QueueShape
): string {
  // A queue that is not there cannot be deleted; the plain one can always be set.
  if (rateMbit === undefined) return `qdisc replace dev ${device} root pfifo_fast`
  if (!(rateMbit > 0 && rateMbit < Infinity)) throw new RangeError(`a rate of ${rateMbit} Mbit/s`)
  const rate = Math.round(rateMbit * 1e6)
  const burst = burstBytes(rateMbit, mtu)
  const limit = Math.ceil((rate / 8) * (queueMs / 1000)) + burst
  return `qdisc replace dev ${device} root tbf rate ${rate}bit burst ${burst}b limit ${limit}b`
}
