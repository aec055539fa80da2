import type { Range } from '../lib/range-set.ts'
import type { OutgoingStripe, StripePart } from '../metadata/stripe-types.ts'
import type { StripeLayout } from './types.ts'

/** Used where a client names no layout, or no block size. */
export const DEFAULT_STRIPE_BYTES = 1_048_576

/** Smaller stripe blocks cost more than they move. */
const MIN_STRIPE_BYTES = 4096

/** What one mover sends to one target, before anybody knows how many connections there are. */
export type StripeShare = Pick<StripePart, 'target' | 'targetCount' | 'share' | 'shareCount'>

/**
 * Spreads the stripe blocks of a file over movers and targets. Stripe block k goes to target
 * k mod targets, so each target gets every targets-th block; where there are more movers than
 * targets several take turns in sending them, where there are fewer a mover sends to several.
 *
 * @returns the shares of each mover; each target is served by somebody and each mover serves one.
 */
export function assignStripes(moverCount: number, targetCount: number): StripeShare[][] {
  return Array.from({ length: moverCount }, (_, mover) => {
    if (moverCount < targetCount) {
      const targets = Array.from({ length: targetCount }, (_zero, target) => target)
      return targets
        .filter((target) => target % moverCount === mover)
        .map((target) => ({ target, targetCount, share: 0, shareCount: 1 }))
    }
    const target = mover % targetCount
    const share = Math.floor(mover / targetCount)
    const shareCount = Math.ceil((moverCount - target) / targetCount)
    return [{ target, targetCount, share, shareCount }]
  })
}

/** The stripe block that carries a layout out; `wireBytes` is where the offsets on the wire end. */
export function stripeBytesOf(
  layout: StripeLayout,
  wireBytes: number,
  stripeCount: number
): number {
  const wanted = layout.kind === 'blocked' ? layout.blockBytes : Math.ceil(wireBytes / stripeCount)
  return Math.max(wanted, MIN_STRIPE_BYTES)
}

/**
 * Walks what a mover sends to one target.
 *
 * @yields ranges of the file in order, none empty, none across a border of two stripe blocks.
 */
export function* shareRanges(
  { target, targetCount, share, shareCount }: StripeShare,
  { ranges, base, stripeBytes }: Pick<OutgoingStripe, 'ranges' | 'base' | 'stripeBytes'>
): Generator<Range, void> {
  const period = targetCount * shareCount
  const first = target + targetCount * share
  for (const { start, end } of ranges) {
    const from = Math.floor((start - base) / stripeBytes)
    const rounds = Math.max(0, Math.ceil((from - first) / period))
    for (let block = first + rounds * period; ; block += period) {
      const blockStart = base + block * stripeBytes
      if (blockStart >= end) break
      const range = {
        start: Math.max(start, blockStart),
        end: Math.min(end, blockStart + stripeBytes)
      }
      if (range.start < range.end) yield range
    }
  }
}
