import type { PeerNode, Role } from '../types.ts'

/**
 * Finds somebody with a role: this agent itself before others.
 *
 * @returns undefined if nobody is known.
 */
export type FindRole = () => string | undefined

/**
 * Finds the member with a role among those that this node is connected to, and remembers it, so
 * that it is also found while the connection is down.
 */
export function memberWithRole(node: Pick<PeerNode, 'members'>, role: Role): FindRole {
  let last: string | undefined
  return () => {
    const members = node.members().filter(({ roles }) => roles.has(role))
    const isStillThere = members.some(({ peerId }) => peerId === last)
    if (!isStillThere) last = members[0]?.peerId ?? last
    return last
  }
}
