import type { Command } from '../cli.ts'
import { callAgent } from '../control-client.ts'
import type { ListedPeer } from '../operations.ts'
import { formatBytes, formatSeconds, formatTable } from './format.ts'

const HEAD = ['peer', 'roles', 'zone', 'connection', 'age', 'received', 'sent', 'images']

/** `blobswarm peers`: shows the agents that this one is connected to, and what it exchanges with them. */
export const peersCommand: Command = {
  arguments: [0, 0],
  async run({ socket, isJson, signal, print }) {
    const found = (await callAgent(socket, 'GET', 'peers', { signal })) as ListedPeer[]
    if (isJson) print(JSON.stringify(found))
    else print(found.length === 0 ? 'none' : formatTable(HEAD, found.map(cellsOf)))
  }
}

function cellsOf(peer: ListedPeer): string[] {
  return [
    peer.peerId,
    peer.roles.join(','),
    peer.zone,
    `${peer.direction} ${peer.address.replace(/\/p2p\/[^/]+$/, '')}`,
    formatSeconds(peer.ageSeconds),
    formatBytes(peer.bytesReceived),
    formatBytes(peer.bytesSent),
    peer.images.join(',')
  ]
}
