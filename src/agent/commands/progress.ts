import type { CommandContext } from '../cli.ts'
import { UsageError } from '../errors.ts'
import type { OperationProgress } from '../operations.ts'
import { formatBytes, formatSeconds } from './format.ts'

const BAR_CELLS = 28

/** Shows how far a long command is, on stderr: a bar on a terminal, JSON lines with `--progress json`, else nothing. */
export class ProgressView {
  readonly #mode: 'bar' | 'json' | 'none'
  readonly #label: string
  #isDrawn = false

  /** @param mode value of `--progress`: bar, json, none, or undefined for what fits. */
  constructor(label: string, mode: CommandContext['values'][string]) {
    if (mode !== undefined && mode !== 'bar' && mode !== 'json' && mode !== 'none') {
      throw new UsageError(`--progress ${mode.toString()}: wanted bar, json or none`)
    }
    this.#label = label
    this.#mode = mode ?? (process.stderr.isTTY ? 'bar' : 'none')
  }

  show(progress: OperationProgress): void {
    if (this.#mode === 'json') process.stderr.write(`${JSON.stringify(progress)}\n`)
    if (this.#mode !== 'bar') return
    process.stderr.write(`\r\x1b[2K${this.#label} ${formatBar(progress)}`)
    this.#isDrawn = true
  }

  /** Ends the bar's line. */
  finish(): void {
    if (this.#isDrawn) process.stderr.write('\n')
    this.#isDrawn = false
  }
}

/** `[#####-----]  50%  64.0 MiB of 128.0 MiB  110.0 MiB/s  peers 60%  4 s left`; only the phase when it is not about bytes. */
export function formatBar(progress: OperationProgress): string {
  const { doneBytes, totalBytes, bytesPerSecond, fromPeersBytes, fromProvidersBytes } = progress
  if (totalBytes === 0 && progress.phase !== 'transfer') {
    return progress.waitingFor === undefined
      ? progress.phase
      : `${progress.phase}, ${waitText(progress)}`
  }
  const share = totalBytes === 0 ? 1 : Math.min(1, doneBytes / totalBytes)
  const filled = Math.round(share * BAR_CELLS)
  const moved = (fromPeersBytes ?? 0) + (fromProvidersBytes ?? 0)
  const parts = [
    `[${'#'.repeat(filled)}${'-'.repeat(BAR_CELLS - filled)}]`,
    `${Math.floor(share * 100)}%`.padStart(4),
    `${formatBytes(doneBytes)} of ${formatBytes(totalBytes)}`
  ]
  if (bytesPerSecond !== undefined) parts.push(`${formatBytes(bytesPerSecond)}/s`)
  if (moved > 0) parts.push(`peers ${Math.round(((fromPeersBytes ?? 0) / moved) * 100)}%`)
  if (progress.etaSeconds !== undefined) parts.push(`${formatSeconds(progress.etaSeconds)} left`)
  if (progress.waitingFor !== undefined) parts.push(waitText(progress))
  if (progress.phase !== 'transfer') parts.push(progress.phase)
  return parts.join('  ')
}

/** `waiting 3 s for answers, gives up in 117 s`. */
export function waitText(wait: Pick<OperationProgress, WaitField>): string {
  const { waitingFor = '', waitedSeconds, giveUpInSeconds } = wait
  const waited = waitedSeconds === undefined ? '' : ` ${formatSeconds(waitedSeconds)}`
  const end = giveUpInSeconds === undefined ? '' : `, gives up in ${formatSeconds(giveUpInSeconds)}`
  return `waiting${waited} for ${waitingFor}${end}`
}

type WaitField = 'waitingFor' | 'waitedSeconds' | 'giveUpInSeconds'
