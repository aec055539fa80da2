import { TypedEventEmitter } from '@libp2p/interface'

type Emitter = TypedEventEmitter<Record<string, Event>>

let isDone = false

/**
 * Lets libp2p's objects tell only what somebody listens to. They make an event of its own class, and pass it to
 * Node's dispatching, three times for each message that is sent, to say that they are idle again, which nobody
 * asks them.
 */
export function quietEvents(): void {
  if (isDone) return
  isDone = true
  const prototype: Emitter = TypedEventEmitter.prototype
  const loud: Emitter['safeDispatchEvent'] = Reflect.get(prototype, 'safeDispatchEvent')
  const quiet: Emitter['safeDispatchEvent'] = function (this: Emitter, type, detail) {
    return this.listenerCount(type) === 0 || loud.call(this, type, detail)
  }
  Object.assign(prototype, { safeDispatchEvent: quiet })
}
