import { formatFactList, parseFacts } from '../mlst.ts'
import { type Reply, reply } from '../replies.ts'
import type { CommandContext, StripeLayout } from '../types.ts'

const DONE = 'OPTS Command Successful.'

/** Block size of a blocked stripe layout when the client names none. */
const STRIPE_BLOCK_BYTES = 1024 * 1024

type SetOptions = (context: CommandContext, value: string) => Reply

const OPTIONS: ReadonlyMap<string, SetOptions> = new Map([
  ['RETR', retrieveOptions],
  ['MLST', listingOptions],
  ['MLSD', listingOptions],
  ['MLSR', recursionOptions],
  ['PASV', passiveOptions],
  ['EPSV', passiveOptions],
  ['SPAS', passiveOptions],
  ['CKSM', checksumOptions],
  ['UTF8', utf8Options]
])

/** OPTS. What is refused is what we would not do. @see RFC 2389 §4 */
export function options(context: CommandContext, argument: string): Reply {
  const space = argument.indexOf(' ')
  const subject = space === -1 ? argument : argument.slice(0, space)
  const value = space === -1 ? '' : argument.slice(space + 1).trim()
  const set = OPTIONS.get(subject.toUpperCase())
  return set === undefined ? reply(501, 'No options for that.') : set(context, value)
}

/** Takes an option's value into what will be set; gives the reason if it cannot. */
type TakeOption = (value: string, next: RetrieveOptions) => string | undefined

interface RetrieveOptions {
  parallelism: number
  layout: StripeLayout['kind'] | undefined
  blockBytes: number | undefined
  markerIntervalMs: number | undefined
}

const RETRIEVE_OPTIONS: ReadonlyMap<string, TakeOption> = new Map<string, TakeOption>([
  ['parallelism', takeParallelism],
  ['stripelayout', takeLayout],
  ['blocksize', takeBlockSize],
  ['markers', takeMarkers],
  // Buffers and packets are the kernel's.
  ['windowsize', takeNumber],
  ['packetsize', takeNumber]
])

/** `Parallelism=n,n,n;StripeLayout=…;BlockSize=n;markers=n;` in any order; all of it or nothing. */
function retrieveOptions({ state, services }: CommandContext, value: string): Reply {
  const next: RetrieveOptions = {
    parallelism: state.parallelism,
    layout: state.stripeLayout?.kind,
    blockBytes: state.stripeBlockBytes,
    markerIntervalMs: state.retrieveMarkerIntervalMs
  }
  for (const option of value.split(';').filter((text) => text.trim() !== '')) {
    const [name = '', setting = ''] = option.trim().split('=')
    const take = RETRIEVE_OPTIONS.get(name.toLowerCase())
    const refusal = take === undefined ? 'Unknown option of RETR.' : take(setting, next)
    if (refusal !== undefined) return reply(501, refusal)
  }
  const { blockBytes = STRIPE_BLOCK_BYTES } = next
  state.parallelism = Math.min(next.parallelism, services.settings.maxDataSockets)
  state.stripeBlockBytes = next.blockBytes
  if (next.layout === 'blocked') state.stripeLayout = { kind: 'blocked', blockBytes }
  if (next.layout === 'partitioned') state.stripeLayout = { kind: 'partitioned' }
  state.retrieveMarkerIntervalMs = next.markerIntervalMs
  return reply(200, DONE)
}

/** `starting,minimum,maximum`: the first number counts. */
function takeParallelism(value: string, next: RetrieveOptions): string | undefined {
  const isList = /^\d{1,6}(,\d{1,6}){0,2}$/.test(value)
  const first = isList ? Number(value.split(',')[0]) : 0
  if (first < 1) return 'Parallelism must be 1 or more.'
  next.parallelism = first
  return undefined
}

function takeLayout(value: string, next: RetrieveOptions): string | undefined {
  const layout = value.toLowerCase()
  if (layout !== 'partitioned' && layout !== 'blocked') return 'Unknown stripe layout.'
  next.layout = layout
  return undefined
}

function takeBlockSize(value: string, next: RetrieveOptions): string | undefined {
  const blockBytes = /^\d{1,15}$/.test(value) ? Number(value) : 0
  if (blockBytes < 1) return 'Block size must be 1 or more.'
  next.blockBytes = blockBytes
  return undefined
}

function takeMarkers(value: string, next: RetrieveOptions): string | undefined {
  const seconds = secondsOf(value)
  if (seconds === undefined) return 'Marker interval is not a number of seconds.'
  next.markerIntervalMs = seconds === 0 ? undefined : seconds * 1000
  return undefined
}

function takeNumber(value: string): string | undefined {
  return /^\d{1,12}$/.test(value) ? undefined : 'Not a number of bytes.'
}

/** The facts to show. @see RFC 3659 §7.9 */
function listingOptions({ state }: CommandContext, value: string): Reply {
  state.facts = parseFacts(value)
  const names = formatFactList(state.facts)
    .split(';')
    .filter((fact) => fact.endsWith('*'))
    .map((fact) => `${fact.slice(0, -1)};`)
  return reply(200, `MLST OPTS ${names.join('')}`.trimEnd())
}

/** `onerror=continue|fail;traversesymboliclinks=true|false;`, or the facts to show. */
function recursionOptions(context: CommandContext, value: string): Reply {
  const settings = value.toLowerCase().split(';')
  const given = settings.map((text) => text.trim()).filter((text) => text !== '')
  const known = /^(onerror=(continue|fail)|traversesymboliclinks=(true|false))$/
  if (!given.every((setting) => known.test(setting))) return listingOptions(context, value)
  for (const setting of given) {
    const isOn = /=(continue|true)$/.test(setting)
    if (setting.startsWith('onerror=')) context.state.skipsListingErrors = isOn
    else context.state.followsLinks = isOn
  }
  return reply(200, DONE)
}

/** `AllowDelayed=0|1;`. */
function passiveOptions({ state }: CommandContext, value: string): Reply {
  const match = /^AllowDelayed=([01]);?$/i.exec(value)
  if (match === null) return reply(501, 'Only AllowDelayed=0 and AllowDelayed=1 are known.')
  state.isPassiveDelayed = match[1] === '1'
  return reply(200, DONE)
}

/** `markers=n;`: seconds from one status marker to the next, 0 for none. */
function checksumOptions({ state }: CommandContext, value: string): Reply {
  const seconds = secondsOf(/^markers=(\d+);?$/i.exec(value)?.[1] ?? '')
  if (seconds === undefined) return reply(501, 'Only markers=<seconds> is known.')
  state.checksumMarkerIntervalMs = seconds === 0 ? undefined : seconds * 1000
  return reply(200, DONE)
}

function utf8Options(_context: CommandContext, value: string): Reply {
  if (/^(on)?$/i.test(value)) return reply(200, 'UTF-8 is always on.')
  return reply(504, 'UTF-8 cannot be switched off.')
}

function secondsOf(text: string): number | undefined {
  return /^\d{1,5}$/.test(text) ? Number(text) : undefined
}
