import { mkdir } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { z } from 'zod'
import { readFileIfThere, syncFolder, writeFileDurably } from '../lib/atomic-file.ts'
import { fromHex, toHex } from '../lib/bytes.ts'
import { DirectoryLock } from '../lib/directory-lock.ts'
import { ED25519_KEY_BYTES } from '../lib/ed25519.ts'
import { errorCode } from '../lib/errors.ts'
import { secureBytes } from '../lib/random.ts'
import { toError } from '../lib/to-error.ts'
import { DataDirectoryError } from './errors.ts'

const FORMAT = 1
const SEED = new RegExp(`^[0-9a-f]{${ED25519_KEY_BYTES * 2}}$`)

const formatSchema = z.object({ format: z.unknown() })
const clusterSchema = z.object({ clusterId: z.hex().length(64), bootstrap: z.array(z.string()) })

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
 * DATA/lock/             which process uses the folder (lib/directory-lock.ts)
 * DATA/agent.key         seed of the agent's Ed25519 key, hex, mode 600
 * DATA/authority.key     seed of the cluster's authority key (first agent only), hex, mode 600
 * DATA/certificate       this agent's membership certificate, as it travels
 * DATA/cluster.json      cluster id and bootstrap addresses
 * DATA/metadata-list     the newest signed list of metadata providers that was seen
 * DATA/revocations       the newest signed list of revoked members that was seen
 * DATA/tokens.json       join tokens that were issued (first agent only)
 * DATA/members.json      who was given a certificate (first agent only)
 * DATA/listen            multiaddr that was listened on last, so that port 0 stays the same
 * DATA/draining          whether this provider drains, yes or no
 * DATA/http.token        bearer token of the control API over TCP, mode 600
 * DATA/versions.sqlite   version manager    DATA/metadata.sqlite   metadata provider
 * DATA/uploads.sqlite    what broken uploads have stored, for their clients to continue
 * DATA/store/            chunks that a provider keeps               DATA/staging/   part-filled chunks of uploads
 * DATA/cache/            chunks of pulled images                    DATA/images/    which images those are
 * DATA/scrub.json        how far the scrubber is, and what it found last
 * DATA/partials/         links to half-written files of pulls   DATA/control.sock      control API
 * ```
 */
export class DataDirectory {
  /** Absolute path of the folder. */
  readonly path: string
  #lock: DirectoryLock | undefined

  constructor(path: string) {
    this.path = resolve(path)
  }

  /** The path of a file in it. */
  file(name: string): string {
    return join(this.path, name)
  }

  /**
   * Makes the folder when missing, and keeps other agents out of it until `close`.
   *
   * @throws {DataDirectoryError} if another agent uses it, its format is newer, or it cannot be read and written.
   */
  async open(): Promise<void> {
    try {
      await makeFolders(this.path)
      const attempt = await DirectoryLock.tryTake(this.file('lock'))
      if (!attempt.isTaken) {
        const reason = `in use by another agent (process ${attempt.heldByPid})`
        throw new DataDirectoryError(this.path, reason)
      }
      this.#lock = attempt.lock
      await this.#checkFormat()
    } catch (error) {
      await this.close()
      if (error instanceof DataDirectoryError) throw error
      const reason = `cannot be used: ${toError(error).message}`
      throw new DataDirectoryError(this.path, reason, { cause: error })
    }
  }

  /** Lets other agents use the folder. Harmless when it is not open. */
  async close(): Promise<void> {
    const lock = this.#lock
    this.#lock = undefined
    await lock?.release()
  }

  /**
   * Reads a 32-byte seed, making one when `create` is set.
   *
   * @returns undefined if there is none and none is to be made.
   * @throws {DataDirectoryError} if the file holds something else.
   */
  async seed(
    name: 'agent.key' | 'authority.key',
    create: boolean
  ): Promise<Uint8Array | undefined> {
    const text = await this.readText(name)
    if (text !== undefined) {
      if (SEED.test(text.trim())) return fromHex(text.trim())
      const reason = `is damaged: wanted ${ED25519_KEY_BYTES} bytes in hexadecimal`
      throw new DataDirectoryError(this.file(name), reason)
    }
    if (!create) return undefined
    const seed = secureBytes(ED25519_KEY_BYTES)
    await this.writeText(name, `${toHex(seed)}\n`)
    return seed
  }

  /**
   * What was remembered of the cluster; undefined before this agent has belonged to one.
   *
   * @throws {DataDirectoryError} if the file is damaged.
   */
  async cluster(): Promise<ClusterState | undefined> {
    return this.#readJson('cluster.json', clusterSchema)
  }

  /** Remembers the cluster. */
  async writeCluster(state: ClusterState): Promise<void> {
    await this.writeText('cluster.json', `${JSON.stringify(state)}\n`)
  }

  /** This agent's membership certificate; undefined before it has been admitted. */
  async certificate(): Promise<Uint8Array | undefined> {
    return readFileIfThere(this.file('certificate'))
  }

  /** Keeps the certificate; from then on `--join` is ignored. */
  async writeCertificate(certificate: Uint8Array): Promise<void> {
    await writeFileDurably(this.file('certificate'), certificate)
  }

  /** Reads a small text file; undefined if there is none. */
  async readText(name: string): Promise<string | undefined> {
    const content = await readFileIfThere(this.file(name))
    return content === undefined ? undefined : Buffer.from(content).toString('utf8')
  }

  /** Replaces a small text file as a whole, durably; only the agent's user can read it. */
  async writeText(name: string, text: string): Promise<void> {
    await writeFileDurably(this.file(name), text)
  }

  async #checkFormat(): Promise<void> {
    const found = await this.#readJson('format.json', formatSchema)
    if (found === undefined) {
      await this.writeText('format.json', `${JSON.stringify({ format: FORMAT })}\n`)
    } else if (found.format !== FORMAT) {
      const reason = `has format ${JSON.stringify(found.format)}, this program knows ${FORMAT}`
      throw new DataDirectoryError(this.path, reason)
    }
  }

  async #readJson<T>(name: string, schema: z.ZodType<T>): Promise<T | undefined> {
    const text = await this.readText(name)
    if (text === undefined) return undefined
    try {
      return schema.parse(JSON.parse(text))
    } catch (error) {
      throw new DataDirectoryError(this.file(name), 'is damaged', { cause: error })
    }
  }
}

/**
 * As `mkdir -p`, durably. Node's own never ends where the parent exists and the answer is ENOENT all
 * the same, as in /proc.
 */
async function makeFolders(path: string): Promise<void> {
  try {
    await mkdir(path, { mode: 0o700 })
  } catch (error) {
    const code = errorCode(error)
    if (code === 'ENOENT' && dirname(path) !== path) {
      await makeFolders(dirname(path))
      await mkdir(path, { mode: 0o700 })
    } else if (code !== 'EEXIST') throw error
  }
  // Also where it is there: an earlier start may have been killed before it came this far.
  await syncParent(path)
}

async function syncParent(path: string): Promise<void> {
  try {
    await syncFolder(dirname(path))
  } catch (error) {
    // A folder that may be passed but not read, or on a file system that flushes files only.
    const code = errorCode(error) ?? ''
    if (!['EACCES', 'EPERM', 'EINVAL'].includes(code)) throw error
  }
}
