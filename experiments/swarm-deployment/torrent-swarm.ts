import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { KIB, MIB } from '../../src/lib/bytes.ts'
import { HostProcess } from './host-process.ts'
import type { Stage } from './stage.ts'
import type { Swarm } from './swarm.ts'
import { ANNOUNCE_SECONDS, copyFolder, makeTorrent, needPrograms, startTracker } from './torrent.ts'

/** A BitTorrent client under its best tuning. */
export interface TorrentClient {
  readonly pieceBytes: number
  readonly needed: readonly { readonly command: readonly string[]; readonly debian: string }[]
  /** Command lines that seed the image of a folder, and fetch it into one. */
  readonly seed: (torrent: string, folder: string) => readonly string[]
  readonly get: (torrent: string, folder: string) => readonly string[]
  /** Beginning of the line by which it says that it has all pieces, checked. */
  readonly doneLine: string
  /** Beginning of the line after which it waits for a line to begin; undefined: it begins when it is started. */
  readonly readyLine?: string
}

const ARIA2_OPTIONS =
  '--quiet --no-conf --seed-ratio=0.0 --listen-port=6881 --disable-ipv6 ' +
  '--enable-dht=false --enable-dht6=false --bt-enable-lpd=false ' +
  `--bt-tracker-interval=${ANNOUNCE_SECONDS}`
const ARIA2_SEED = '--check-integrity=true'
/** What it has is noted every second, so that one that was killed goes on. It hashes nothing at its start, a second less. */
const ARIA2_GET =
  '--file-allocation=none --allow-overwrite=true --auto-save-interval=1 ' +
  '--on-bt-download-complete=/bin/echo'
/** aria2 hashes the image before. */
const SEED_WITHIN_MS = 60_000
const MKTORRENT = { command: ['mktorrent', '-h'], debian: 'mktorrent' }
const PYTHON = '/usr/bin/python3'
const LIBTORRENT_PROGRAM = fileURLToPath(new URL('libtorrent-client.py', import.meta.url))

/** aria2 says by a hook that a download is complete. */
export function aria2(pieceBytes = MIB): TorrentClient {
  const common = ['aria2c', ...ARIA2_OPTIONS.split(' ')]
  return {
    pieceBytes,
    needed: [MKTORRENT, { command: ['aria2c', '--version'], debian: 'aria2' }],
    seed: (torrent, folder) => [...common, ARIA2_SEED, `--dir=${folder}`, torrent],
    get: (torrent, folder) => [...common, ...ARIA2_GET.split(' '), `--dir=${folder}`, torrent],
    doneLine: ''
  }
}

/** Of libtorrent; the session of each host runs before the start signal. */
export interface LibtorrentTuning {
  readonly pieceBytes: number
  readonly settings: Readonly<Record<string, number | boolean>>
  readonly isSuperSeeding: boolean
}

/** All neighbours unchoked and small pieces: what did best. */
const LIBTORRENT_BEST: LibtorrentTuning = {
  pieceBytes: 256 * KIB,
  settings: { unchoke_slots_limit: -1 },
  isSuperSeeding: false
}

export function libtorrent(tuning: Partial<LibtorrentTuning> = {}): TorrentClient {
  const { pieceBytes, settings, isSuperSeeding } = { ...LIBTORRENT_BEST, ...tuning }
  const text = JSON.stringify({
    min_announce_interval: ANNOUNCE_SECONDS,
    connection_speed: 200,
    ...settings
  })
  const kind = isSuperSeeding ? 'super' : 'plain'
  const command = (torrent: string, folder: string, role: string): string[] => {
    return [PYTHON, LIBTORRENT_PROGRAM, torrent, folder, role, text, kind]
  }
  return {
    pieceBytes,
    needed: [
      MKTORRENT,
      { command: [PYTHON, '-c', 'import libtorrent'], debian: 'python3-libtorrent' }
    ],
    seed: (torrent, folder) => command(torrent, folder, 'seed'),
    get: (torrent, folder) => command(torrent, folder, 'get'),
    readyLine: 'ready',
    doneLine: 'done'
  }
}

/** BitTorrent clients, a seeding one and the tracker at the source. */
export class TorrentSwarm implements Swarm {
  readonly #stage: Stage
  readonly #client: TorrentClient
  readonly #processes = new Map<number, HostProcess[]>()
  #torrent = ''

  constructor(stage: Stage, client: TorrentClient) {
    this.#stage = stage
    this.#client = client
  }

  async start(): Promise<void> {
    const { needed, pieceBytes, seed, readyLine } = this.#client
    await needPrograms(needed)
    this.#torrent = await makeTorrent(this.#stage, pieceBytes)
    const tracker = await startTracker(this.#stage)
    this.#processes.set(0, [tracker])
    this.#run(0, seed(this.#torrent, dirname(this.#stage.image.path)))
    await tracker.line('client', AbortSignal.timeout(SEED_WITHIN_MS))
    if (readyLine === undefined) return
    await Promise.all(this.#stage.hosts.map(async (host) => this.restart(host)))
  }

  async fetch(host: number, signal: AbortSignal): Promise<number> {
    const { readyLine, doneLine } = this.#client
    if (readyLine === undefined) await this.#runGet(host)
    const client = this.#processes.get(host)?.at(-1)
    if (client === undefined) throw new Error(`nothing runs on host ${host}`)
    client.write('')
    await client.line(doneLine, signal)
    return performance.now()
  }

  async kill(host: number): Promise<void> {
    const running = this.#processes.get(host) ?? []
    this.#processes.delete(host)
    await Promise.all(running.map(async (process) => process.kill()))
  }

  async restart(host: number): Promise<void> {
    const { readyLine } = this.#client
    if (readyLine === undefined) return
    const client = await this.#runGet(host)
    await client.line(readyLine)
  }

  file(host: number): string {
    return join(this.#stage.folder, `host-${host}`, basename(this.#stage.image.path))
  }

  reusedBytes(): number {
    return 0
  }

  async stop(): Promise<void> {
    await Promise.all(Array.from(this.#processes.keys(), async (host) => this.kill(host)))
  }

  async #runGet(host: number): Promise<HostProcess> {
    return this.#run(host, this.#client.get(this.#torrent, await copyFolder(this.#stage, host)))
  }

  #run(host: number, command: readonly string[]): HostProcess {
    const client = new HostProcess([...this.#stage.testbed.prefix(host), ...command])
    this.#processes.set(host, [...(this.#processes.get(host) ?? []), client])
    return client
  }
}
