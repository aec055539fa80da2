import { NoProviderError } from './errors.ts'
import type { ChunkProvider, ProviderDirectory } from './provider-types.ts'
import type { ProviderId } from './types.ts'

/**
 * Opens a provider that the provider manager has just named. Where the directory does not know it,
 * the directory is out of date.
 *
 * @throws {NoProviderError} if it is not known after another look either.
 */
export async function openPlaced(
  directory: ProviderDirectory,
  id: ProviderId
): Promise<ChunkProvider> {
  const known = directory.open(id)
  if (known !== undefined) return known
  await directory.refresh?.()
  const provider = directory.open(id)
  if (provider === undefined) throw new NoProviderError(`${id} is unknown`)
  return provider
}
