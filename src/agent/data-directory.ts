import { mkdir } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { readFileIfThere, writeFileDurably } from '../lib/atomic-file.ts'
import { fromHex, toHex } from '../lib/bytes.ts'
import { ED25519_KEY_BYTES } from '../lib/ed25519.ts'
import { secureBytes } from '../lib/random.ts'
import { DataDirectoryError } from './errors.ts'

const FORMAT = 1

/** What an agent remembers about its cluster between starts. */
export interface ClusterState {
  /** Authority public key, hexadecimal. */
  readonly clusterId: string
  /** Multiaddrs of the agents that were told at join time. */
  readonly bootstrap: readonly string[]
}

/**
 * The folder that holds everything an agent keeps.
 *
 * ```text
 * DATA/format.json       {"format":1}
 * DATA/agent.key         seed of the agent's Ed25519 key, hex, mode 600
 * DATA/authority.key     seed of the cluster's authority key (first agent only), hex, mode 600
 * DATA/certificate       this agent's membership certificate, as it travels
 * DATA/cluster.json      cluster id and bootstrap addresses
 * DATA/tokens.json       join tokens that were issued (first agent only)
 * DATA/listen            multiaddr that was listened on last, so that port 0 stays the same
 * DATA/http.token        bearer token of the control API over TCP, mode 600
 * DATA/versions.sqlite   version manager    DATA/metadata.sqlite   metadata provider
 * DATA/store/            chunks             DATA/staging/          part-filled chunks of uploads
 * DATA/control.sock      control API
 * ```
 */
export class DataDirectory {
  readonly path: string

  constructor(path: string) {
    this.path = resolve(path)
  }

  file(name: string): string {
    return join(this.path, name)
  }

  /** Makes the folder when missing. @throws {DataDirectoryError} if it cannot be used. */
  async open(): Promise<void> {
    try {
      await mkdir(this.path, { recursive: true, mode: 0o700 })
      const text = await this.readText('format.json')
      if (text === undefined) {
        await this.writeText('format.json', `${JSON.stringify({ format: FORMAT })}\n`)
        return
      }
      const { format } = JSON.parse(text) as { format?: unknown }
      if (format !== FORMAT) {
        throw new DataDirectoryError(
          this.path,
          `has format ${String(format)}, this program knows ${FORMAT}`
        )
      }
    } catch (error) {
      if (error instanceof DataDirectoryError) throw error
      throw new DataDirectoryError(this.path, 'cannot be used', { cause: error })
    }
  }

  /** Reads a 32-byte seed, making one when `create` is set. */
  async seed(
    name: 'agent.key' | 'authority.key',
    create: boolean
  ): Promise<Uint8Array | undefined> {
    const text = await this.readText(name)
    if (text !== undefined) {
      const seed = fromHex(text.trim())
      if (seed.byteLength === ED25519_KEY_BYTES) return seed
      throw new DataDirectoryError(this.file(name), `holds ${seed.byteLength} bytes, wanted 32`)
    }
    if (!create) return undefined
    const seed = secureBytes(ED25519_KEY_BYTES)
    await this.writeText(name, `${toHex(seed)}\n`)
    return seed
  }

  async cluster(): Promise<ClusterState | undefined> {
    const text = await this.readText('cluster.json')
    return text === undefined ? undefined : (JSON.parse(text) as ClusterState)
  }

  async writeCluster(state: ClusterState): Promise<void> {
    await this.writeText('cluster.json', `${JSON.stringify(state)}\n`)
  }

  async certificate(): Promise<Uint8Array | undefined> {
    return readFileIfThere(this.file('certificate'))
  }

  async writeCertificate(certificate: Uint8Array): Promise<void> {
    await writeFileDurably(this.file('certificate'), certificate)
  }

  async readText(name: string): Promise<string | undefined> {
    const content = await readFileIfThere(this.file(name))
    return content === undefined ? undefined : Buffer.from(content).toString('utf8')
  }

  async writeText(name: string, text: string): Promise<void> {
    await writeFileDurably(this.file(name), text)
  }
}
