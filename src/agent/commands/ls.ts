import type { NamespaceEntry } from '../../metadata/namespace-types.ts'
import type { Command } from '../cli.ts'
import { callAgent } from '../control-client.ts'
import { formatTable, formatTime } from './format.ts'

/** `blobswarm ls`: lists a folder. */
export const lsCommand: Command = {
  arguments: [0, 1],
  async run({ positionals, socket, isJson, signal, print }) {
    const query = { path: positionals[0] ?? '/' }
    const entries = (await callAgent(socket, 'GET', 'ls', { query, signal })) as NamespaceEntry[]
    if (isJson) {
      print(JSON.stringify(entries))
      return
    }
    if (entries.length === 0) return
    const rows = entries.map((entry) => {
      const name = entry.path.slice(entry.path.lastIndexOf('/') + 1)
      return entry.kind === 'directory'
        ? ['', '', formatTime(entry.modifiedMs), `${name}/`]
        : [String(entry.bytes), `@${entry.version}`, formatTime(entry.modifiedMs), name]
    })
    print(formatTable(['bytes', 'newest', 'modified', 'name'], rows))
  }
}
