/**
 * Memory of which somebody knows when it has been used for the last time. Left to the garbage collector, what
 * is ciphered and deciphered makes it run so often that it costs more than the ciphering.
 */
const disposable = new WeakSet<ArrayBufferLike>()

/** Lets whoever uses the bytes last free their memory; nothing else lies in it. */
export function markDisposable<T extends Uint8Array>(bytes: T): T {
  disposable.add(bytes.buffer)
  return bytes
}

/**
 * Frees the memory that an array lies in, if it was marked: every view of it is empty from now on. Bytes of
 * the memory that are not in the array must have been used, too.
 */
export function dispose(bytes: Uint8Array): void {
  const { buffer } = bytes
  if (disposable.delete(buffer) && buffer instanceof ArrayBuffer) buffer.transfer(0)
}
