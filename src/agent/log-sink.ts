import { format, types } from 'node:util'
import { type DestinationStream, type Level, pino } from 'pino'
import { errorCode } from '../lib/errors.ts'
import type { Logger, LoggerFactory } from '../lib/logger.ts'

/**
 * Logs as JSON lines (pino) on stderr, so that stdout stays free for `ready {json}`. `%p` and `%a` print
 * their value, `%e` an error's message with its code; the stack goes along at debug and trace.
 */
export function pinoLogger(
  level: Level,
  destination: DestinationStream = pino.destination({ fd: 2, sync: true })
): LoggerFactory {
  const root = pino(
    {
      level,
      base: { pid: process.pid },
      timestamp: pino.stdTimeFunctions.isoTime,
      serializers: { err: stackOf }
    },
    destination
  )
  return {
    forComponent: (component): Logger => {
      const child = root.child({ component })
      const at =
        (name: 'error' | 'info' | 'debug' | 'trace') =>
        (text: string, ...values: unknown[]): void => {
          if (!child.isLevelEnabled(name)) return
          const failure = values.find(isError)
          const withStack = failure !== undefined && child.isLevelEnabled('debug')
          child[name](withStack ? { err: failure } : {}, formatLine(text, values))
        }
      return { error: at('error'), info: at('info'), debug: at('debug'), trace: at('trace') }
    }
  }
}

/** `util.format` plus `%p`, `%a` and `%e`. */
export function formatLine(text: string, values: readonly unknown[]): string {
  let index = 0
  const shown = [...values]
  const plain = text.replaceAll(/%([a-zA-Z%])/g, (whole, kind: string) => {
    if (kind === '%') return whole
    const at = index++
    if (kind === 'e') shown[at] = describe(values[at])
    return kind === 'p' || kind === 'a' || kind === 'e' ? '%s' : whole
  })
  return format(plain, ...shown)
}

function describe(value: unknown): string {
  if (!isError(value)) return String(value)
  const code = errorCode(value)
  const cause =
    isError(value.cause) && !value.message.includes(value.cause.message)
      ? ` (${value.cause.message})`
      : ''
  return `${code === undefined ? '' : `${code} `}${value.message}${cause}`
}

/** Nothing but what an error says: its other fields may hold bytes, names and secrets. */
function stackOf(error: Error): { readonly stack: string | undefined } {
  return { stack: error.stack }
}

function isError(value: unknown): value is Error {
  return value instanceof Error || types.isNativeError(value)
}
