import type { Command } from '../cli.ts'
import { callAgent } from '../control-client.ts'
import type { ListedMember } from '../operations.ts'
import { formatTable, formatTime } from './format.ts'

/** `blobswarm members`: shows who was admitted to the cluster. */
export const membersCommand: Command = {
  arguments: [0, 0],
  async run({ socket, isJson, signal, print }) {
    const found = (await callAgent(socket, 'GET', 'members', { signal })) as ListedMember[]
    print(isJson ? JSON.stringify(found) : formatMembers(found))
  }
}

/** `blobswarm revoke`: shuts a member out. */
export const revokeCommand: Command = {
  arguments: [1, 1],
  options: { reason: { type: 'string' } },
  async run({ positionals, values, socket, isJson, signal, print }) {
    const [member = ''] = positionals
    const reason = typeof values.reason === 'string' ? values.reason : undefined
    const query = { member, reason }
    const revoked = (await callAgent(socket, 'POST', 'revoke', { query, signal })) as ListedMember
    print(isJson ? JSON.stringify(revoked) : `${revoked.peerId} is revoked`)
  }
}

/** Members as a table for people. */
export function formatMembers(members: readonly ListedMember[]): string {
  if (members.length === 0) return 'none'
  const rows = members.map((member) => [
    member.peerId,
    member.roles.join(','),
    member.rights.join(','),
    standingOf(member),
    member.isConnected ? 'yes' : 'no',
    formatTime(Date.parse(member.admitted)),
    formatTime(Date.parse(member.certificateUntil))
  ])
  const head = ['peer', 'roles', 'rights', 'standing', 'connected', 'admitted', 'until']
  return formatTable(head, rows)
}

/** `valid`, `expired`, `revoked 2026-11-22 08:15:00Z, disk stolen`. */
function standingOf({ standing, revoked, reason = '' }: ListedMember): string {
  if (revoked === undefined) return standing
  const because = reason === '' ? '' : `, ${reason}`
  return `revoked ${formatTime(Date.parse(revoked))}${because}`
}
