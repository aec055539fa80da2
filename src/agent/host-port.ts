import type { AddressInfo } from 'node:net'
import { ConfigError } from './errors.ts'

export interface HostPort {
  readonly host: string
  readonly port: number
}

/** Parses `127.0.0.1:2811`, `localhost:0` or `[::1]:2811`. @throws {ConfigError} */
export function parseHostPort(text: string): HostPort {
  const found = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(text)
  const port = Number(found?.[3])
  if (found === null || port > 65_535) throw new ConfigError(`"${text}" is not HOST:PORT`)
  return { host: found[1] ?? found[2] ?? '', port }
}

/** The text form of a bound address. */
export function formatHostPort({ address, port }: Pick<AddressInfo, 'address' | 'port'>): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`
}
