import type { Command, CommandContext } from '../cli.ts'
import { callAgent } from '../control-client.ts'
import { UsageError } from '../errors.ts'
import type { ListedProvider } from '../operations.ts'
import { formatBytes, formatTable, formatTime } from './format.ts'

/** `blobswarm providers`: shows the storage providers, or has one moved out of use and back. */
export const providersCommand: Command = {
  arguments: [0, 2],
  async run(context) {
    const [action, provider] = context.positionals
    if (action === undefined) await show(context)
    else if (provider === undefined || (action !== 'drain' && action !== 'undrain')) {
      throw new UsageError('usage: blobswarm providers [drain N | undrain N]')
    } else await order(action, provider, context)
  }
}

async function show({ socket, isJson, signal, print }: CommandContext): Promise<void> {
  const found = (await callAgent(socket, 'GET', 'providers', { signal })) as ListedProvider[]
  print(isJson ? JSON.stringify(found) : formatProviders(found))
}

async function order(
  action: 'drain' | 'undrain',
  provider: string,
  { socket, isJson, signal, print }: CommandContext
): Promise<void> {
  const query = { provider }
  const state = (await callAgent(socket, 'POST', action, { query, signal })) as ListedProvider
  if (isJson) print(JSON.stringify(state))
  else if (action === 'undrain') print(`${state.id} takes new chunks again`)
  else print(`${state.id} takes no new chunks, ${state.chunkCount} are left to be moved`)
}

const HEAD = [
  'id',
  'zone',
  'state',
  'free',
  'stored',
  'chunks',
  'load',
  'latency',
  'lost',
  'version',
  'seen'
]

/** Providers as a table for people. */
export function formatProviders(providers: readonly ListedProvider[]): string {
  if (providers.length === 0) return 'none'
  const rows = providers.map((provider) => [
    provider.id,
    provider.zone,
    formatState(provider),
    formatBytes(provider.freeBytes),
    formatBytes(provider.storedBytes),
    String(provider.chunkCount),
    String(provider.load),
    `${provider.latencyMs} ms`,
    String(provider.lostCount),
    provider.version,
    formatTime(Date.parse(provider.seen))
  ])
  return formatTable(HEAD, rows)
}

/** `live`, `suspect`, `draining, 12 chunks left`, `dead, drained` … */
function formatState({ condition, isDraining, chunkCount }: ListedProvider): string {
  if (!isDraining) return condition
  const plural = chunkCount === 1 ? 'chunk' : 'chunks'
  const draining = chunkCount === 0 ? 'drained' : `draining, ${chunkCount} ${plural} left`
  return condition === 'live' ? draining : `${condition}, ${draining}`
}
