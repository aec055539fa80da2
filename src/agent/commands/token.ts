import type { Command, CommandContext } from '../cli.ts'
import { callAgent } from '../control-client.ts'
import { UsageError } from '../errors.ts'
import type { ListedToken } from '../operations.ts'
import { duration } from './arguments.ts'
import { formatTable, formatTime } from './format.ts'

/** `blobswarm token`: makes what new agents join with, shows what is still open, takes it back. */
export const tokenCommand: Command = {
  arguments: [1, 2],
  options: {
    roles: { type: 'string' },
    rights: { type: 'string' },
    expires: { type: 'string' }
  },
  async run(context) {
    const [action, id] = context.positionals
    if (action === 'create' && id === undefined) await create(context)
    else if (action === 'list' && id === undefined) await list(context)
    else if (action === 'revoke' && id !== undefined) await revoke(id, context)
    else throw new UsageError(`token ${action}: wanted token create, list or revoke ID`)
  }
}

async function create({ values, socket, isJson, signal, print }: CommandContext): Promise<void> {
  const body = {
    roles: listOf(values.roles),
    rights: listOf(values.rights),
    expiresMs: duration('--expires', values.expires)
  }
  const result = (await callAgent(socket, 'POST', 'token', { body, signal })) as { token: string }
  print(isJson ? JSON.stringify(result) : result.token)
}

async function list({ socket, isJson, signal, print }: CommandContext): Promise<void> {
  const found = (await callAgent(socket, 'GET', 'tokens', { signal })) as ListedToken[]
  print(isJson ? JSON.stringify(found) : formatTokens(found))
}

async function revoke(
  id: string,
  { socket, isJson, signal, print }: CommandContext
): Promise<void> {
  const query = { token: id }
  const revoked = (await callAgent(socket, 'POST', 'revokeToken', { query, signal })) as ListedToken
  print(isJson ? JSON.stringify(revoked) : `nobody can join with ${revoked.id} any more`)
}

function formatTokens(tokens: readonly ListedToken[]): string {
  if (tokens.length === 0) return 'none'
  const rows = tokens.map(({ id, roles, rights, expires }) => [
    id,
    roles.join(','),
    rights.join(','),
    formatTime(Date.parse(expires))
  ])
  return formatTable(['id', 'roles', 'rights', 'until'], rows)
}

function listOf(value: unknown): string[] | undefined {
  return typeof value === 'string' ? value.split(',').filter((part) => part !== '') : undefined
}
