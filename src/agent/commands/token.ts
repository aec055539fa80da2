import type { Command } from '../cli.ts'
import { callAgent } from '../control-client.ts'
import { UsageError } from '../errors.ts'
import { duration } from './arguments.ts'

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
      expiresMs: duration('--expires', values.expires)
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
