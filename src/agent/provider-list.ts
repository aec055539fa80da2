import { UnknownProviderError } from '../chunks/errors.ts'
import type { ProviderManager, ProviderState } from '../chunks/provider-manager-types.ts'
import type { ProviderId } from '../chunks/types.ts'
import type { AbortOptions } from '../lib/abort-options.ts'
import { BadRequestError } from './errors.ts'
import type { ListedProvider } from './operations.ts'

/** The providers that the provider manager knows, in order of their ids. */
export async function listProviders(
  providers: Pick<ProviderManager, 'list'>,
  options: AbortOptions = {}
): Promise<ListedProvider[]> {
  const states = await providers.list(options)
  return states.map(listed).toSorted((left, right) => (left.id < right.id ? -1 : 1))
}

/**
 * Begins or ends the draining of a provider.
 *
 * @param name its id, or as much of the start of it as no other id has.
 * @throws {UnknownProviderError} if there is none.
 * @throws {BadRequestError} if there are several.
 */
export async function setProviderDraining(
  providers: Pick<ProviderManager, 'list' | 'setDraining'>,
  name: string,
  isDraining: boolean,
  options: AbortOptions = {}
): Promise<ListedProvider> {
  const states = await providers.list(options)
  const id = idOf(
    name,
    states.map((state) => state.id)
  )
  return listed(await providers.setDraining(id, isDraining, options))
}

function idOf(name: string, ids: readonly ProviderId[]): ProviderId {
  const found = ids.includes(name) ? [name] : ids.filter((id) => id.startsWith(name))
  const [id, ...others] = found
  if (id === undefined) throw new UnknownProviderError(name)
  if (others.length > 0) throw new BadRequestError(`${found.length} providers begin with ${name}`)
  return id
}

function listed({ seenMs, ...state }: ProviderState): ListedProvider {
  return { ...state, seen: new Date(seenMs).toISOString() }
}
