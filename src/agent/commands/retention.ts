import type { RetentionPolicy } from '../../metadata/namespace-types.ts'
import type { Command, CommandContext } from '../cli.ts'
import { callAgent } from '../control-client.ts'
import { UsageError } from '../errors.ts'
import type { RetentionResult } from '../operations.ts'
import { duration, wholeNumber } from './arguments.ts'
import { formatDuration } from './format.ts'

/** `blobswarm retention`: shows or sets which versions stay. */
export const retentionCommand: Command = {
  arguments: [1, 1],
  options: {
    last: { type: 'string' },
    younger: { type: 'string' },
    all: { type: 'boolean' },
    inherit: { type: 'boolean' }
  },
  async run({ positionals, values, socket, isJson, signal, print }) {
    const query = { path: positionals[0] }
    const wanted = wantedPolicy(values)
    const call =
      wanted === undefined
        ? callAgent(socket, 'GET', 'retention', { query, signal })
        : callAgent(socket, 'POST', 'retention', { query, body: wanted, signal })
    const result = (await call) as RetentionResult
    print(isJson ? JSON.stringify(result) : formatRetention(result))
  }
}

/** What is to be set, null for the policy of the folders above; undefined to set nothing. */
function wantedPolicy(
  values: CommandContext['values']
): { readonly policy: RetentionPolicy | null } | undefined {
  const last = wholeNumber('--last', values.last, 'a number of versions, at least 1')
  const youngerMs = duration('--younger', values.younger)
  if (last === 0) throw new UsageError('--last 0: wanted a number of versions, at least 1')
  if (youngerMs === 0)
    throw new UsageError(`--younger ${String(values.younger)}: wanted a time such as 30m, 1h or 7d`)
  const isRule = last !== undefined || youngerMs !== undefined
  const ways = [isRule, values.all === true, values.inherit === true]
  if (ways.filter(Boolean).length > 1) {
    throw new UsageError('retention: --all, --inherit and --last or --younger exclude each other')
  }
  if (values.inherit === true) return { policy: null }
  if (values.all === true) return { policy: {} }
  return isRule ? { policy: { last, youngerMs } } : undefined
}

/** `/a: keeps the last 3 versions and those younger than 30d (set for /)`. */
function formatRetention({ path, policy: { last, youngerMs }, setFor }: RetentionResult): string {
  const rules: string[] = []
  if (last !== undefined) rules.push(last === 1 ? 'the last version' : `the last ${last} versions`)
  if (youngerMs !== undefined) rules.push(`those younger than ${formatDuration(youngerMs)}`)
  const kept = rules.length === 0 ? 'all versions' : rules.join(' and ')
  const origin = setFor === undefined || setFor === path ? '' : ` (set for ${setFor})`
  return `${path}: keeps ${kept}${origin}`
}
