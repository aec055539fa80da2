import type { AddressInfo } from 'node:net'
import { ConfigError } from './errors.ts'

/** Where to listen or to connect to. */
export interface HostPort {
  readonly host: string
  readonly port: number
}

/** Parses `127.0.0.1:2811`, `localhost:0` or `[::1]:2811`. @throws {ConfigError} for anything else. */
export function parseHostPort(text: string): HostPort {
  const found = find(text)
  if (found === undefined) throw new ConfigError(`"${text}" is not HOST:PORT`)
  return found
}

/** Tells whether `parseHostPort` takes it. */
export function isHostPort(text: string): boolean {
  return find(text) !== undefined
}

function find(text: string): HostPort | undefined {
  const [, bracketed, plain, digits] =
    /^(?:\[([^\]\s]+)\]|([^:\s[\]]+)):(\d{1,5})$/.exec(text) ?? []
  const host = bracketed ?? plain
  const port = Number(digits)
  return host === undefined || port > 65_535 ? undefined : { host, port }
}

/** The text form of a bound address. */
export function formatHostPort({ address, port }: Pick<AddressInfo, 'address' | 'port'>): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`
}
