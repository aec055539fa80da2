import type { VersionSummary } from '../../metadata/types.ts'
import type { Command } from '../cli.ts'
import { callAgent } from '../control-client.ts'
import { formatTable, formatTime } from './format.ts'

/** `blobswarm log`: shows the versions of an image. */
export const logCommand: Command = {
  arguments: [1, 1],
  async run({ positionals, socket, isJson, signal, print }) {
    const query = { path: positionals[0] }
    const versions = (await callAgent(socket, 'GET', 'log', { query, signal })) as VersionSummary[]
    if (isJson) {
      const documents = versions.map(({ timeMs, ...version }) => ({
        ...version,
        time: new Date(timeMs).toISOString()
      }))
      print(JSON.stringify(documents))
      return
    }
    const rows = versions.map(({ version, bytes, timeMs, note, isPinned }) => [
      String(version),
      String(bytes),
      formatTime(timeMs),
      isPinned ? 'pinned' : '',
      note
    ])
    print(formatTable(['version', 'bytes', 'time', '', 'note'], rows))
  }
}
