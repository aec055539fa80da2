import { readFileIfThere, writeFileDurably } from '../lib/atomic-file.ts'
import { equalBytes } from '../lib/bytes.ts'
import type { Logger } from '../lib/logger.ts'
import { toError } from '../lib/to-error.ts'
import type { Libp2pNode } from '../peer/node.ts'
import type { Revoker } from '../peer/revoker.ts'
import type { DataDirectory } from './data-directory.ts'

/** Name of the file in the data directory. */
export const REVOCATIONS = 'revocations'

export interface RevocationKeeperComponents {
  readonly data: Pick<DataDirectory, 'file'>
  readonly node: Pick<Libp2pNode, 'membership'>
  /** undefined where the authority is elsewhere. */
  readonly revoker: Pick<Revoker, 'adopt'> | undefined
  readonly log: Logger
}

/**
 * Remembers the newest revocation list that was seen. At the authority one that others know and this
 * agent does not, because its data was restored from an older copy, is gone on from.
 */
export class RevocationKeeper {
  readonly #components: RevocationKeeperComponents
  #stopListening: () => void = () => {}
  #work: Promise<void> = Promise.resolve()

  constructor(components: RevocationKeeperComponents) {
    this.#components = components
  }

  async start(): Promise<void> {
    const { membership } = this.#components.node
    this.#stopListening = membership.onRevocationsChanged(() => {
      this.#work = this.#work.then(async () => this.#keep())
    })
    this.#work = this.#keep()
    await this.#work
  }

  async stop(): Promise<void> {
    this.#stopListening()
    await this.#work
  }

  async #keep(): Promise<void> {
    const { data, node, revoker, log } = this.#components
    const { revocations } = node.membership.credentials()
    if (revocations === undefined) return
    try {
      revoker?.adopt(revocations)
      const path = data.file(REVOCATIONS)
      const saved = await readFileIfThere(path)
      if (saved !== undefined && equalBytes(saved, revocations)) return
      await writeFileDurably(path, revocations)
      const { number = 0, revoked = [] } = node.membership.revocations ?? {}
      log.info('revocation list %d names %d peers', number, revoked.length)
    } catch (error) {
      log.error('revocation list not kept: %e', toError(error))
    }
  }
}
