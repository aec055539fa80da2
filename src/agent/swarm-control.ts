import type { AbortOptions } from '../lib/abort-options.ts'
import { fromHex, toHex } from '../lib/bytes.ts'
import type { Clock } from '../lib/clock.ts'
import { withDeadline } from '../lib/deadline.ts'
import type { Logger } from '../lib/logger.ts'
import { toError } from '../lib/to-error.ts'
import { formatRef, parseRef } from '../metadata/ref.ts'
import type { Repository } from '../metadata/repository.ts'
import { PeerTimeoutError } from '../peer/errors.ts'
import type { Libp2pNode } from '../peer/node.ts'
import type { RateLimits } from '../peer/swarm/description.ts'
import type { ImageSummary } from '../peer/swarm/image-summary.ts'
import type { SwarmService } from '../peer/swarm/swarm-service.ts'
import type { ImageCatalogue } from './image-catalogue.ts'
import type { ListedImage, ListedPeer, RateLimitChange, SwarmTotals } from './operations.ts'

export interface SwarmControlComponents {
  readonly node: Pick<Libp2pNode, 'connections'>
  readonly swarm: SwarmService
  readonly repository: Pick<Repository, 'record'>
  /** Knows the names of images that this agent pulled. */
  readonly catalogue: Pick<ImageCatalogue, 'get' | 'find' | 'entries'>
  readonly clock: Clock
  readonly log: Logger
}

/** How long the version manager is asked what an image is called that this agent knows, too. */
const RECORD_WAIT_MS = 3000

/** What operators ask about the exchange of images, and change in it. */
export class SwarmControl {
  readonly #components: SwarmControlComponents

  constructor(components: SwarmControlComponents) {
    this.#components = components
  }

  /** All about one image's swarm; next to nothing if this agent takes no part in it. */
  async describe(ref: string, options: AbortOptions = {}): Promise<object> {
    const { swarm } = this.#components
    const image = await this.#rootOf(ref, options)
    const described = swarm.describe(fromHex(image))
    return {
      ref,
      image,
      ...(described ?? { role: 'absent', limits: swarm.limits, neighbours: [] })
    }
  }

  /** The images that this agent exchanges, those that do something first. */
  images(): ListedImage[] {
    return this.#components.swarm
      .summaries()
      .toSorted((left, right) => rankOf(left) - rankOf(right))
      .map((summary) => Object.assign({ names: this.#namesOf(summary.image) }, summary))
  }

  /** What all images come to. */
  totals(): SwarmTotals {
    const images = this.#components.swarm.summaries()
    const sum = (of: (image: ImageSummary) => number): number =>
      images.reduce((total, image) => total + of(image), 0)
    return {
      images: images.length,
      downloading: images.filter(({ role }) => role === 'downloading').length,
      seeding: images.filter(({ role }) => role === 'seeding').length,
      waiting: images.filter(({ wait }) => wait !== undefined).length,
      neighbours: sum(({ neighbourCount }) => neighbourCount),
      receivedPerSecond: sum(({ receivedPerSecond }) => receivedPerSecond),
      sentPerSecond: sum(({ sentPerSecond }) => sentPerSecond),
      ...this.#components.swarm.limits
    }
  }

  /** The agents that this one is connected to, and what it exchanges with each. */
  peers(): ListedPeer[] {
    const { node, swarm, clock } = this.#components
    const exchanges = swarm.exchanges()
    const nowMs = clock.now()
    return node.connections().map(({ member, direction, address, openedMs }) => {
      const { peerId, roles, rights, expiresMs } = member
      const { zone, images = [], bytesReceived = 0, bytesSent = 0 } = exchanges.get(peerId) ?? {}
      return {
        peerId,
        roles: [...roles],
        rights: [...rights],
        certificateUntil: new Date(expiresMs).toISOString(),
        zone: zone ?? '',
        direction,
        address,
        ageSeconds: Math.max(0, Math.round((nowMs - openedMs) / 1000)),
        images: images.map((image) => this.#namesOf(image)[0] ?? image.slice(0, 16)),
        bytesReceived,
        bytesSent
      }
    })
  }

  limits(): RateLimits {
    return this.#components.swarm.limits
  }

  /** Changes rate limits until the agent ends; 0 takes a limit away. What waits already goes by them, too. */
  setLimits({ uploadRate, downloadRate }: RateLimitChange): RateLimits {
    const { swarm, log } = this.#components
    if (uploadRate !== undefined) swarm.setUploadRate(uploadRate === 0 ? undefined : uploadRate)
    if (downloadRate !== undefined) {
      swarm.setDownloadRate(downloadRate === 0 ? undefined : downloadRate)
    }
    const { limits } = swarm
    log.info(
      'rate limits: %d bytes/s up, %d down (0: none)',
      limits.uploadRate,
      limits.downloadRate
    )
    return limits
  }

  #namesOf(image: string): string[] {
    return (this.#components.catalogue.get(image)?.names ?? []).map(formatRef)
  }

  /** Manifest root of a version; of one that this agent has, also while the version manager is away. */
  async #rootOf(ref: string, { signal }: AbortOptions): Promise<string> {
    const { repository, catalogue, clock, log } = this.#components
    const { path, version } = parseRef(ref)
    const name = catalogue.find(path, version)
    const here = name && catalogue.entries().find(({ names }) => names.includes(name))
    const ask = async (options: AbortOptions) => repository.record(ref, options)
    const timedOut = (): Error =>
      new PeerTimeoutError('the version manager', `the record of ${ref}`, RECORD_WAIT_MS)
    try {
      const { record } =
        here === undefined
          ? await ask({ signal })
          : await withDeadline(ask, { clock, timeoutMs: RECORD_WAIT_MS, timedOut, signal })
      return toHex(record.manifestRoot)
    } catch (error) {
      signal?.throwIfAborted()
      if (here === undefined) throw error
      log.debug('%s is taken for what is here: %e', ref, toError(error))
      return here.key
    }
  }
}

const ROLE_ORDER: readonly ImageSummary['role'][] = ['downloading', 'seeding', 'idle']

function rankOf({ role }: ImageSummary): number {
  return ROLE_ORDER.indexOf(role)
}
