import type { Command } from '../cli.ts'
import { callAgent } from '../control-client.ts'
import { UsageError } from '../errors.ts'

const UNITS: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }

/** `blobswarm token`: `token create` prints one line with which a new agent joins. */
export const tokenCommand: Command = {
  arguments: [1, 1],
  options: {
    roles: { type: 'string' },
    rights: { type: 'string' },
    expires: { type: 'string' }
  },
  async run({ positionals, values, socket, isJson, signal, print }) {
    if (positionals[0] !== 'create') {
      throw new UsageError(`token ${positionals[0]}: wanted token create`)
    }
    const body = {
      roles: listOf(values.roles),
      rights: listOf(values.rights),
      expiresMs: durationOf(values.expires)
    }
    const result = (await callAgent(socket, 'POST', 'token', { body, signal })) as {
      token: string
    }
    print(isJson ? JSON.stringify(result) : result.token)
  }
}

function listOf(value: unknown): string[] | undefined {
  return typeof value === 'string' ? value.split(',').filter((part) => part !== '') : undefined
}

function durationOf(value: unknown): number | undefined {
  if (typeof value !== 'string') return undefined
  const found = /^(\d+)([smhd])$/.exec(value)
  if (found === null)
    throw new UsageError(`--expires ${value}: wanted a time such as 30m, 1h or 7d`)
  return Number(found[1]) * (UNITS[found[2] ?? 's'] ?? 1000)
}
