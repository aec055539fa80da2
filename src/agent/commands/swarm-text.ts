import type { AskReason } from '../../peer/swarm/ask-reason.ts'
import type {
  LeftDescription,
  NeighbourDescription,
  RunDescription,
  SwarmDescription
} from '../../peer/swarm/description.ts'
import type { Wait, WaitReason } from '../../peer/swarm/errors.ts'
import type { MissingDescription } from '../../peer/swarm/missing.ts'
import type { AskCount } from '../../peer/swarm/run-account.ts'
import { formatBytes, formatLimit, formatSeconds, formatTable } from './format.ts'
import type { SwarmAnswer } from './swarm.ts'

const LABEL_WIDTH = 10

/**
 * Tells of an image's swarm for people: what is here, what is missing and why, who sent what, what is
 * waited for.
 *
 * @yields lines.
 */
export function* swarmLines(ref: string, answer: SwarmAnswer): Generator<string, void> {
  if (answer.role === 'absent') {
    yield `${ref}: this agent has no part in the exchange of ${answer.image.slice(0, 16)}`
    return
  }
  const { bytes, bytesHeld, chunks, chunksHeld, role, download, wait } = answer
  const share = bytes === 0 ? 100 : Math.floor((bytesHeld / bytes) * 100)
  yield line('image', `${answer.image.slice(0, 16)}, ${role}`)
  yield line(
    'held',
    `${formatBytes(bytesHeld)} of ${formatBytes(bytes)} (${share}%), ${chunksHeld} of ${chunks} chunks`
  )
  if (download !== undefined) yield* runLines(download, answer)
  if (wait !== undefined) yield line('waiting', waitLine(wait))
  if (answer.missing.chunks > 0) yield* missingLines(answer.missing)
  yield line('uploads', uploadsText(answer))
  const { uploadRate, downloadRate } = answer.limits
  yield line('limits', `up ${formatLimit(uploadRate)}, down ${formatLimit(downloadRate)}`)
  yield ''
  yield answer.neighbours.length === 0 ? 'no neighbours' : neighbourTable(answer.neighbours)
  const { left, forgotten } = answer
  if (left.length > 0) {
    yield ''
    yield formatTable(['left', 'received', 'sent', 'wasted', 'why'], left.map(leftCells))
  }
  if (forgotten.peers > 0) {
    const { peers, receivedBytes, sentBytes } = forgotten
    const received = formatBytes(receivedBytes)
    yield `and ${peers} others that left: ${received} received, ${formatBytes(sentBytes)} sent`
  }
}

function* runLines(run: RunDescription, answer: SwarmDescription): Generator<string, void> {
  const { state, code, elapsedMs, firstChunkMs, averagePerSecond } = run
  const how = code === undefined ? state : `${state} (${code})`
  const first =
    firstChunkMs === undefined ? '' : `, first chunk after ${formatSeconds(firstChunkMs / 1000)}`
  const verb = state === 'running' ? 'for' : 'after'
  yield line('download', `${how} ${verb} ${formatSeconds(elapsedMs / 1000)}${first}`)
  const average = `${formatBytes(averagePerSecond)}/s on average`
  const eta = answer.etaMs === undefined ? '' : `, ${formatSeconds(answer.etaMs / 1000)} left`
  const now = state === 'running' ? `${formatBytes(answer.receivedPerSecond)}/s now, ` : ''
  yield line('rate', `${now}${average}${eta}`)
  yield line('bytes', bytesText(run))
  const asked = askText(run.asked)
  if (asked !== '') yield line('asked', asked)
  const atSources = askText(run.askedAtSources)
  if (atSources !== '') yield line('sources', `used because ${atSources}`)
  const waits = Object.entries(run.waitedMs).map(
    ([reason, ms]) => `${formatSeconds(ms / 1000)} for ${WAIT_TEXTS[reason as WaitReason]}`
  )
  if (waits.length > 0) yield line('waited', waits.join(', '))
}

function bytesText(run: RunDescription): string {
  const { bytesFromProviders, bytesFromPeers, bytesReused, zeroBytes } = run
  const parts = [
    `providers ${formatBytes(bytesFromProviders)}`,
    `peers ${formatBytes(bytesFromPeers)}`,
    `reused ${formatBytes(bytesReused)}`,
    `zero ${formatBytes(zeroBytes)}`,
    `wasted ${formatBytes(run.duplicateBytes + run.wrongBytes)}`
  ]
  const wrong = run.wrongBytes > 0 ? ` (${formatBytes(run.wrongBytes)} wrong)` : ''
  return parts.join(', ') + wrong
}

const ASK_TEXTS: Readonly<Record<AskReason, string>> = {
  any: 'a source chose what it sent least',
  fresh: 'nobody else had it',
  patience: 'others gave nothing for a while',
  alone: 'nobody else was there',
  rarest: 'rarest first',
  demand: 'on demand',
  readAhead: 'read ahead',
  profile: 'boot profile',
  endgame: 'endgame',
  overdue: 'the first answer was late'
}

function askText(counts: Readonly<Partial<Record<AskReason, AskCount>>>): string {
  return Object.entries(counts)
    .map(([reason, { requests, bytes }]) => {
      const text = ASK_TEXTS[reason as AskReason]
      return `${text}: ${requests} (${formatBytes(bytes)})`
    })
    .join('; ')
}

const WAIT_TEXTS: Readonly<Record<WaitReason, string>> = {
  'look-up': 'the directory',
  dial: 'connections',
  neighbours: 'anybody to reach',
  chunks: 'a neighbour to get missing chunks',
  spread: 'others to pass chunks on',
  answers: 'answers',
  disk: 'the disk',
  'rate limit': 'the rate limit'
}

/** `3 s for answers of …abcd; something else in 7 s, gives up in 117 s`. */
export function waitLine({ reason, waitedMs, nextInMs, giveUpInMs, peers }: Wait): string {
  const who = peers.length === 0 ? '' : ` of ${peers.join(', ')}`
  const end =
    giveUpInMs === undefined
      ? 'does not give up'
      : `gives up in ${formatSeconds(giveUpInMs / 1000)}`
  const next = `something else in ${formatSeconds(nextInMs / 1000)}`
  return `${formatSeconds(waitedMs / 1000)} for ${WAIT_TEXTS[reason]}${who}; ${next}, ${end}`
}

function* missingLines(missing: MissingDescription): Generator<string, void> {
  const { chunks, bytes, pending, storing, open } = missing
  const stages = `${pending} asked for, ${storing} being stored, ${open} open`
  yield line('missing', `${chunks} chunks, ${formatBytes(bytes)}: ${stages}`)
  const classes = Object.entries(missing.byClass)
  if (classes.length > 1 || missing.byClass.rest === undefined) {
    const texts = classes.map(
      ([name, count]) => `${name} ${count.chunks} (${formatBytes(count.bytes)})`
    )
    yield line('', texts.join(', '))
  }
  if (missing.heldByNobody > 0) {
    const named = missing.nobodyHolds.join(', ')
    const more = missing.heldByNobody > missing.nobodyHolds.length ? ', …' : ''
    yield line('', `nobody connected holds ${missing.heldByNobody}: ${named}${more}`)
  }
  if (missing.heldBySourcesOnly > 0) {
    yield line('', `only sources hold ${missing.heldBySourcesOnly}`)
  }
  const copies = missing.copies.map((row) => `${row.chunks} with ${row.copies}`)
  yield line('', `copies at neighbours: ${copies.join(', ')}`)
}

function uploadsText({ uploads }: SwarmDescription): string {
  const { bytesSent, sentPerSecond, busySlots, waitingRequests } = uploads
  const now = `${formatBytes(bytesSent)} sent, ${formatBytes(sentPerSecond)}/s now`
  return `${now}, ${busySlots} slots busy, ${waitingRequests} requests waiting`
}

const NEIGHBOUR_HEAD = [
  'neighbour',
  'zone',
  'is',
  'holds',
  'received',
  'sent',
  'rate in',
  'rate out',
  'in flight',
  'answer ms',
  'failures',
  'since'
]

function neighbourTable(neighbours: readonly NeighbourDescription[]): string {
  const rows = neighbours
    .toSorted((left, right) => right.bytesReceived - left.bytesReceived)
    .map((each) => [
      each.peerId,
      each.zone,
      standingOf(each),
      String(each.chunksHeld),
      formatBytes(each.bytesReceived),
      formatBytes(each.bytesSent),
      `${formatBytes(each.receivedPerSecond)}/s`,
      `${formatBytes(each.sentPerSecond)}/s`,
      formatBytes(each.bytesInFlight),
      each.answerMs === 0 ? '' : String(each.answerMs),
      String(each.failures),
      formatSeconds(each.sinceMs / 1000)
    ])
  return formatTable(NEIGHBOUR_HEAD, rows)
}

function standingOf({ isSource, isProvider, wants }: NeighbourDescription): string {
  const what = isProvider ? 'provider' : isSource ? 'source' : 'peer'
  return wants ? `${what}, wants` : what
}

function leftCells(peer: LeftDescription): string[] {
  const { peerId, bytesReceived, bytesSent, bytesWasted, reason } = peer
  const exchanged = [bytesReceived, bytesSent, bytesWasted].map(formatBytes)
  return [peerId, ...exchanged, reason]
}

function line(label: string, text: string): string {
  return `${label.padEnd(LABEL_WIDTH)} ${text}`
}
