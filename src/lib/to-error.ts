import { types } from 'node:util'

/**
 * Turns anything that was thrown into an Error. libp2p may reject with an `Event` (its error is then in
 * `error` or `detail`), DOM code with a string.
 */
export function toError(thrown: unknown): Error {
  // Errors of another realm (node:vm, jest's tests) are no instances of this one's Error.
  if (thrown instanceof Error || types.isNativeError(thrown)) return thrown
  if (typeof thrown === 'object' && thrown !== null) {
    const { error, detail } = thrown as { error?: unknown; detail?: unknown }
    if (error instanceof Error) return error
    if (detail instanceof Error) return detail
    const { type, message } = thrown as { type?: unknown; message?: unknown }
    const text = typeof message === 'string' ? message : typeof type === 'string' ? type : undefined
    if (text !== undefined) return new Error(text, { cause: thrown })
  }
  return new Error(String(thrown), { cause: thrown })
}
