import { pipeline } from 'node:stream/promises'
import { errorCode } from '../../lib/errors.ts'
import type { Command, CommandContext } from '../cli.ts'
import { answerLines } from '../control-client.ts'
import type { DiffResult } from '../operations.ts'
import { formatBytes } from './format.ts'

interface DiffSummary extends Pick<DiffResult, 'before' | 'after'> {
  readonly rangeCount: number
  readonly changedBytes: number
}

/** `blobswarm diff`: shows where two versions differ. */
export const diffCommand: Command = {
  arguments: [2, 2],
  async run(context) {
    const text = context.isJson ? jsonOf(context) : textOf(context)
    try {
      await pipeline(text, process.stdout, { signal: context.signal, end: false })
    } catch (error) {
      if (errorCode(error) !== 'EPIPE') throw error // `diff … | head` is fine
    }
  }
}

function callDiff({ positionals, socket, signal }: CommandContext) {
  const [before, after] = positionals
  return answerLines(socket, 'GET', 'diff', { query: { before, after }, signal })
}

async function* jsonOf(context: CommandContext): AsyncGenerator<string, void> {
  const lines = callDiff(context)
  let next = await lines.next()
  yield '{"ranges":['
  for (let isFirst = true; next.done !== true; next = await lines.next()) {
    const ranges = next.value.ranges ?? []
    if (ranges.length === 0) continue
    yield `${isFirst ? '' : ','}${JSON.stringify(ranges).slice(1, -1)}`
    isFirst = false
  }
  yield `],${JSON.stringify(next.value).slice(1)}\n`
}

async function* textOf(context: CommandContext): AsyncGenerator<string, void> {
  const lines = callDiff(context)
  let next = await lines.next()
  for (; next.done !== true; next = await lines.next()) {
    const ranges = next.value.ranges ?? []
    yield ranges.map(({ offset, length }) => `${offset} ${length}\n`).join('')
  }
  yield `${sentenceOf(next.value as DiffSummary)}\n`
}

/** `/a@1 and /a@2 differ in 3 ranges, 192.0 KiB`. */
function sentenceOf({ before, after, rangeCount, changedBytes }: DiffSummary): string {
  const named = `${before.path}@${before.version} and ${after.path}@${after.version}`
  if (rangeCount === 0) return `${named} are equal`
  const ranges = rangeCount === 1 ? 'one range' : `${rangeCount} ranges`
  return `${named} differ in ${ranges}, ${formatBytes(changedBytes)}`
}
