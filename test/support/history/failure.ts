/** Thrown when a history comes to what must never be: the rules are wrong. */
export class HistoryFailure extends Error {
  override readonly name = 'HistoryFailure'
}
