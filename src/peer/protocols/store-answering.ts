import type { ServedProvider, WorkOptions } from '../../chunks/maintenance-types.ts'
import type { Clock } from '../../lib/clock.ts'
import type { Verifier } from '../../metadata/signature-types.ts'
import { NotPermittedError } from '../errors.ts'
import { verifyRetirementOrder } from '../retirement-order.ts'
import { formatPermission, permits, STORE_PERMISSIONS } from '../rights.ts'
import { verifySurplusOrder } from '../surplus-order.ts'
import type { Member } from '../types.ts'
import type { StoreRequest } from './store.ts'
import type { StoreAnswer } from './store-answers.ts'

/** Requests that have one answer, and carry no bytes of chunks. */
export type PlainRequest = Exclude<
  StoreRequest,
  { readonly kind: 'put' | 'part' | 'get' | 'cancel' }
>

/** What answers are made of. */
export interface AnsweringParts {
  readonly remote: Member
  readonly provider: ServedProvider
  readonly verifier: Verifier
  readonly clock: Clock
}

/**
 * Does what a request asks for, if its caller may ask for it.
 *
 * @throws {NotPermittedError | UntrustedSignatureError} and what the provider throws.
 */
export async function answerPlainRequest(
  message: PlainRequest,
  { remote, provider, verifier, clock }: AnsweringParts,
  options: WorkOptions
): Promise<StoreAnswer> {
  const { request } = message
  checkMayAsk(message.kind, remote)
  switch (message.kind) {
    case 'has':
      return { kind: 'held', request, held: await provider.has(message.ids, options) }
    case 'holds':
      return { kind: 'held', request, held: await provider.holds(message.ids, options) }
    case 'check':
      return { kind: 'checked', request, conditions: await provider.check(message.ids, options) }
    case 'copy': {
      const { ids, sources } = message
      return { kind: 'held', request, held: await provider.copy(ids, sources, options) }
    }
    case 'begin':
      return { kind: 'begun', request, collection: await provider.beginCollection(options) }
    case 'list': {
      const { collection, after } = message
      const ids = await provider.unleased(collection, after, options)
      return { kind: 'listed', request, ids }
    }
    case 'collect': {
      const expected = { kind: 'chunks', provider: provider.id } as const
      const order = verifyRetirementOrder(verifier, message.order, expected)
      const { collection, keys, isDryRun } = order
      const collected = await provider.collect(collection, keys, { ...options, isDryRun })
      return { kind: 'collected', request, collected }
    }
    case 'trim': {
      const expected = { provider: provider.id, nowMs: clock.now() }
      const { ids } = verifySurplusOrder(verifier, message.order, expected)
      return { kind: 'collected', request, collected: await provider.trim(ids, options) }
    }
    default:
      throw new TypeError('not a plain request')
  }
}

/** @throws {NotPermittedError} if the certificate does not give what the request needs. */
export function checkMayAsk(kind: keyof typeof STORE_PERMISSIONS, remote: Member): void {
  const permission = STORE_PERMISSIONS[kind]
  if (permits(permission, remote)) return
  throw new NotPermittedError(`${kind} needs ${formatPermission(permission)}`)
}
