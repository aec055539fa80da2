import type { CacheFigures } from '../cached-image.ts'
import type { Command } from '../cli.ts'
import type { ClusterHealth } from '../cluster-health.ts'
import { callAgent } from '../control-client.ts'
import type { ListedImage, SwarmTotals } from '../operations.ts'
import type { ScrubFigures } from '../scrub-timer.ts'
import { formatBytes, formatLimit, formatSeconds, formatTable, formatTime } from './format.ts'
import { waitLine } from './swarm-text.ts'

type Status = Readonly<Record<string, unknown>> &
  Partial<ClusterHealth> & {
    readonly scrub?: ScrubFigures
    readonly cache?: CacheFigures
    readonly brokenUploads?: { readonly count: number; readonly bytes: number }
    readonly swarm?: SwarmTotals
    readonly images?: readonly ListedImage[]
  }

/** `blobswarm status`: shows what the agent is and does, and how the cluster's chunks are. */
export const statusCommand: Command = {
  arguments: [0, 0],
  async run({ socket, isJson, signal, print }) {
    const status = (await callAgent(socket, 'GET', 'status', { signal })) as Status
    if (isJson) print(JSON.stringify(status))
    else {
      for (const [name, text] of linesOf(status)) print(`${name.padEnd(16)} ${text}`)
      for (const line of imageLines(status.images ?? [])) print(line)
    }
  }
}

function* linesOf(status: Status): Generator<readonly [name: string, text: string]> {
  const { providers, repair, scrub, cache, brokenUploads, swarm, images: _, ...rest } = status
  for (const [name, value] of Object.entries(rest)) {
    yield [name, typeof value === 'string' ? value : JSON.stringify(value)]
  }
  if (cache !== undefined) yield ['cache', cacheText(cache)]
  if (brokenUploads !== undefined) {
    const { count, bytes } = brokenUploads
    yield ['broken uploads', `${count}, ${formatBytes(bytes)} of which are kept`]
  }
  if (swarm !== undefined) yield ['swarm', swarmText(swarm)]
  if (scrub !== undefined) yield ['scrub', scrubText(scrub)]
  if (providers !== undefined) yield ['providers', providersText(providers)]
  if (repair !== undefined) yield* repairLines(repair)
}

function swarmText(swarm: SwarmTotals): string {
  const { images, downloading, seeding, waiting, neighbours } = swarm
  const counts = `${images} images, ${downloading} downloading (${waiting} waiting), ${seeding} seeding`
  const into = rateText(swarm.receivedPerSecond, swarm.downloadRate)
  const out = rateText(swarm.sentPerSecond, swarm.uploadRate)
  return `${counts}, ${neighbours} neighbours; ${into} in, ${out} out`
}

function rateText(bytesPerSecond: number, limit: number): string {
  const rate = `${formatBytes(bytesPerSecond)}/s`
  return limit === 0 ? rate : `${rate} of ${formatLimit(limit)}`
}

const IMAGE_HEAD = ['image', 'role', 'held', 'of', '%', 'neighbours', 'rate in', 'rate out', 'left']

/** @yields the images that are exchanged, and below the table what those wait for that get nothing. */
function* imageLines(images: readonly ListedImage[]): Generator<string, void> {
  if (images.length === 0) return
  yield ''
  yield formatTable(
    IMAGE_HEAD,
    images.map((image) => [
      nameOf(image),
      image.role,
      formatBytes(image.bytesHeld),
      formatBytes(image.bytes),
      String(image.bytes === 0 ? 100 : Math.floor((image.bytesHeld / image.bytes) * 100)),
      String(image.neighbourCount),
      `${formatBytes(image.receivedPerSecond)}/s`,
      `${formatBytes(image.sentPerSecond)}/s`,
      image.etaMs === undefined ? '' : formatSeconds(image.etaMs / 1000)
    ])
  )
  for (const image of images) {
    if (image.wait !== undefined) yield `${nameOf(image)} waits ${waitLine(image.wait)}`
  }
}

function nameOf({ names, image }: ListedImage): string {
  return names[0] ?? image.slice(0, 16)
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

function cacheText({ images, bytes, limitBytes, evictedImages }: CacheFigures): string {
  const limit = limitBytes === undefined ? '' : ` of ${formatBytes(limitBytes)}`
  return `${images} images, ${formatBytes(bytes)}${limit}, ${evictedImages} evicted`
}

function scrubText({ last, running }: ScrubFigures): string {
  const ended =
    last === undefined
      ? 'no round has ended yet'
      : `ended ${last.ended}: ${last.checked} checked, ${last.corrupt} corrupt, ` +
        `${last.missing} missing, ${last.unreadable} unreadable`
  return running === undefined ? ended : `${ended}; ${running.checked} checked in this round`
}
