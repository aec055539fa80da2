import { isIP, isIPv4, isIPv6 } from 'node:net'

/** One end of a TCP connection: an IP address in text form and a port. */
export interface SocketAddress {
  readonly host: string
  readonly port: number
}

/** 1 for IPv4, 2 for IPv6, as EPRT and EPSV count. @see RFC 2428 */
export type AddressFamily = 1 | 2

/**
 * Writes an IPv4 address that came through an IPv6 socket as plain IPv4; drops the zone of
 * others.
 */
export function plainAddress(address: string | undefined): string {
  const text = address ?? ''
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(text)
  return mapped?.[1] ?? text.replace(/%.*$/, '')
}

/** Tells whether an address is of this machine's loopback. */
export function isLoopback(address: string): boolean {
  return address.startsWith('127.') || address === '::1'
}

/** The address itself, or the /64 of an IPv6 address: what one customer of a network has. */
export function networkOf(address: string): string {
  if (!isIPv6(address)) return address
  const [head = '', tail] = address.split('::')
  const [before, after] = [head, tail ?? ''].map((part) => part.split(':').filter(Boolean))
  const zeros = Array.from({ length: 8 - (before?.length ?? 0) - (after?.length ?? 0) }, () => '0')
  return `${[...(before ?? []), ...zeros, ...(after ?? [])].slice(0, 4).join(':')}::/64`
}

/** The family of an IP address. */
export function addressFamily(address: string): AddressFamily {
  return isIPv6(address) ? 2 : 1
}

/** Formats `h1,h2,h3,h4,p1,p2` for 227 and SPAS. */
export function formatHostPort({ host, port }: SocketAddress): string {
  return `${host.replaceAll('.', ',')},${port >> 8},${port & 0xff}`
}

/** Formats `|1|127.0.0.1|37473|`. */
export function formatExtended({ host, port }: SocketAddress): string {
  return `|${addressFamily(host)}|${host}|${port}|`
}

/** Parses the argument of PORT; undefined if it is not six numbers of a byte each. */
export function parseHostPort(text: string): SocketAddress | undefined {
  const fields = text.trim().split(',')
  if (fields.length !== 6 || !fields.every((field) => /^\d{1,3}$/.test(field))) return undefined
  const numbers = fields.map(Number)
  if (numbers.some((number) => number > 255)) return undefined
  const port = (numbers[4] ?? 0) * 256 + (numbers[5] ?? 0)
  return { host: numbers.slice(0, 4).join('.'), port }
}

/**
 * Parses the argument of EPRT, `<d>family<d>address<d>port<d>` with any delimiter.
 *
 * @returns undefined if it is malformed, `unsupported` for a family that is neither IPv4 nor IPv6.
 */
export function parseExtended(text: string): SocketAddress | 'unsupported' | undefined {
  const trimmed = text.trim()
  const delimiter = trimmed[0]
  if (delimiter === undefined || !/[!-/:-~]/.test(delimiter)) return undefined
  const [before, family, host, port, after, ...rest] = trimmed.split(delimiter)
  if (before !== '' || after !== '' || rest.length > 0) return undefined
  if (family === undefined || host === undefined || port === undefined) return undefined
  if (!/^\d{1,3}$/.test(family) || !/^\d{1,5}$/.test(port) || Number(port) > 65_535)
    return undefined
  if (family !== '1' && family !== '2') return 'unsupported'
  const isRight = family === '1' ? isIPv4(host) : isIP(host) === 6
  return isRight ? { host: canonicalAddress(host), port: Number(port) } : undefined
}

/** One text for each address: IPv6 has many ways to write the same. */
function canonicalAddress(host: string): string {
  const plain = plainAddress(host)
  return isIPv6(plain) ? new URL(`http://[${plain}]/`).hostname.slice(1, -1) : plain
}
