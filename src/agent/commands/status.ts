import type { Command } from '../cli.ts'
import type { ClusterHealth } from '../cluster-health.ts'
import { callAgent } from '../control-client.ts'
import type { ScrubFigures } from '../scrub-timer.ts'
import { formatBytes, formatTime } from './format.ts'

type Status = Readonly<Record<string, unknown>> &
  Partial<ClusterHealth> & {
    readonly scrub?: ScrubFigures
    readonly brokenUploads?: { readonly count: number; readonly bytes: number }
  }

/** `blobswarm status`: shows what the agent is and does, and how the cluster's chunks are. */
export const statusCommand: Command = {
  arguments: [0, 0],
  async run({ socket, isJson, signal, print }) {
    const status = (await callAgent(socket, 'GET', 'status', { signal })) as Status
    if (isJson) print(JSON.stringify(status))
    else for (const [name, text] of linesOf(status)) print(`${name.padEnd(16)} ${text}`)
  }
}

function* linesOf(status: Status): Generator<readonly [name: string, text: string]> {
  const { providers, repair, scrub, brokenUploads, ...rest } = status
  for (const [name, value] of Object.entries(rest)) {
    yield [name, typeof value === 'string' ? value : JSON.stringify(value)]
  }
  if (brokenUploads !== undefined) {
    const { count, bytes } = brokenUploads
    yield ['broken uploads', `${count}, ${formatBytes(bytes)} of which are kept`]
  }
  if (scrub !== undefined) yield ['scrub', scrubText(scrub)]
  if (providers !== undefined) yield ['providers', providersText(providers)]
  if (repair !== undefined) yield* repairLines(repair)
}

function providersText(providers: ClusterHealth['providers']): string {
  if ('error' in providers) return `unknown: ${providers.error}`
  const { live, suspect, dead, draining } = providers
  return `${live} live, ${suspect} suspect, ${dead} dead, ${draining} draining`
}

function* repairLines(repair: ClusterHealth['repair']): Generator<readonly [string, string]> {
  if ('error' in repair) {
    yield ['repair', `unknown: ${repair.error}`]
    return
  }
  const { replicas, chunks, underReplicated, unreachable, surplus, lookedMs } = repair
  yield ['replicas', String(replicas)]
  yield ['under-replicated', `${underReplicated} of ${chunks}`]
  yield ['unreachable', String(unreachable)]
  const currency = repair.isCurrent ? '' : 'not up to date, '
  const looked = `${currency}looked at ${formatTime(lookedMs)}`
  const copied = `${repair.copiedChunks} copied (${formatBytes(repair.copiedBytes)})`
  const counts = `${repair.pending} pending, ${repair.failedCopies} failed`
  yield [
    'repair',
    `${looked}, ${copied}, ${counts}, ${surplus} surplus, ${repair.trimmedChunks} trimmed`
  ]
}

function scrubText({ last, running }: ScrubFigures): string {
  const ended =
    last === undefined
      ? 'no round has ended yet'
      : `ended ${last.ended}: ${last.checked} checked, ${last.corrupt} corrupt, ` +
        `${last.missing} missing, ${last.unreadable} unreadable`
  return running === undefined ? ended : `${ended}; ${running.checked} checked in this round`
}
