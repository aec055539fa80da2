/**
 * Why a chunk was asked of a neighbour. From a source: `any` (it chooses what it has sent least), `fresh`
 * (nobody else has the chunk), `patience` (others give nothing for a while), `alone` (there is nobody
 * else). From the others: `rarest`. From either: the class that the chunk was raised to, and a second time
 * because the image is nearly whole (`endgame`) or the first answer is long in coming (`overdue`).
 */
export const ASK_REASONS = [
  'any',
  'fresh',
  'patience',
  'alone',
  'rarest',
  'demand',
  'readAhead',
  'profile',
  'endgame',
  'overdue'
] as const
export type AskReason = (typeof ASK_REASONS)[number]
