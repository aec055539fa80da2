import { BlobswarmError } from '../lib/errors.ts'
import { InternalFailureError, InvalidRequestError } from './errors.ts'

/**
 * Turns what a request failed with into what its remote caller may know: our own errors as they
 * are, impossible values as an InvalidRequestError, anything else as an InternalFailureError.
 */
export function asFailure(error: Error): BlobswarmError {
  if (error instanceof BlobswarmError) return error
  if (error instanceof TypeError || error instanceof RangeError) {
    return new InvalidRequestError(error.message, { cause: error })
  }
  return new InternalFailureError({ cause: error })
}
