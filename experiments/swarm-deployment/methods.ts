import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { KIB, MIB } from '../../src/lib/bytes.ts'
import { TestbedError } from '../testbed/iproute.ts'
import { BlobswarmSwarm } from './blobswarm-swarm.ts'
import type { Stage } from './stage.ts'
import type { Swarm } from './swarm.ts'
import { aria2, libtorrent, type TorrentClient, TorrentSwarm } from './torrent-swarm.ts'

/** A way to deploy that can be measured. */
export interface Method {
  readonly name: string
  readonly make: (stage: Stage) => Swarm
}

const METHODS: readonly Method[] = [
  { name: 'ours', make: (stage) => new BlobswarmSwarm(stage) },
  torrentMethod('aria2', aria2()),
  torrentMethod('aria2-256k', aria2(256 * KIB)),
  torrentMethod('libtorrent', libtorrent()),
  torrentMethod('libtorrent-default', libtorrent({ pieceBytes: MIB, settings: {} })),
  torrentMethod('libtorrent-super', libtorrent({ isSuperSeeding: true }))
]

/** Our agents of another checkout, to compare with. */
const OTHER_CHECKOUT = /^ours@(?<folder>.+)$/

/** @throws {TestbedError} for a name that there is not. */
export function methodsOf(names: string): Method[] {
  return names.split(',').map((name) => {
    const folder = OTHER_CHECKOUT.exec(name)?.groups?.folder
    if (folder !== undefined) return otherCheckout(name, folder)
    const method = METHODS.find((it) => it.name === name)
    if (method !== undefined) return method
    const known = METHODS.map((it) => it.name).join(', ')
    throw new TestbedError(`there is no method ${name}; there are: ${known}, ours@CHECKOUT`)
  })
}

function otherCheckout(name: string, folder: string): Method {
  const program = resolve(folder, 'bin', 'blobswarm')
  if (!existsSync(program)) throw new TestbedError(`there is no ${program}`)
  return { name, make: (stage) => new BlobswarmSwarm(stage, program) }
}

function torrentMethod(name: string, client: TorrentClient): Method {
  return { name, make: (stage) => new TorrentSwarm(stage, client) }
}
