import type { CollectionReport } from '../../metadata/collection-types.ts'
import type { Command } from '../cli.ts'
import { followAgent } from '../control-client.ts'
import { formatBytes } from './format.ts'
import { ProgressView } from './progress.ts'

/** `blobswarm gc`: deletes what no version that stays can reach. */
export const gcCommand: Command = {
  arguments: [0, 0],
  options: { 'dry-run': { type: 'boolean' } },
  async run({ values, socket, isJson, signal, print }) {
    const view = new ProgressView('gc', values.progress)
    const query = { dryRun: values['dry-run'] === true }
    const report = (await followAgent(socket, 'gc', { query, signal }, (progress) =>
      view.show(progress)
    ).finally(() => view.finish())) as CollectionReport
    print(isJson ? JSON.stringify(report) : formatReport(report))
  }
}

/** What a collection did, or would do, in two to four lines. */
export function formatReport(report: CollectionReport): string {
  const { isDryRun, retiredVersions, forgottenBlobs, chunks, nodes, pages, records } = report
  const { liveChunks, missed, seconds } = report
  const [retired, deleted] = isDryRun ? ['would retire', 'would delete'] : ['retired', 'deleted']
  const lines = [
    `${retired} ${counted(retiredVersions, 'version')}, ${deleted} ` +
      `${counted(chunks.count, 'chunk')} (${formatBytes(chunks.bytes)}), ` +
      `${counted(nodes.count, 'node')}, ${counted(pages.count, 'page')} and ` +
      counted(records.count, 'record'),
    `${counted(liveChunks, 'chunk')} ${liveChunks === 1 ? 'stays' : 'stay'}  ${seconds.toFixed(1)} s`
  ]
  if (forgottenBlobs > 0) {
    const forgets = isDryRun ? 'would forget' : 'forgot'
    lines.push(`${forgets} ${counted(forgottenBlobs, 'blob')} of which nothing is left`)
  }
  if (missed.length > 0) {
    lines.push(`not reached, collected another time: ${missed.join(', ')}`)
  }
  return lines.join('\n')
}

function counted(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? '' : 's'}`
}
