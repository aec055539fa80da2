import type { SwarmMessage } from '../../../src/peer/protocols/swarm.ts'
import { encodeSwarmMessage } from '../../../src/peer/protocols/swarm-codec.ts'
import type { HostileConversation } from './hostile-conversation.ts'

/** What a hostile peer does on one stream. */
export type Behaviour = (talk: HostileConversation) => Promise<void>

type Asked = Extract<SwarmMessage, { type: 'request' | 'any' }>

const isAsked = (message: SwarmMessage): message is Asked =>
  message.type === 'request' || message.type === 'any'

/** A chunk message that answers a request, with bytes that are wrong. */
function wrongAnswer(talk: HostileConversation, asked: Asked): SwarmMessage & { type: 'chunk' } {
  const { manifest } = talk.image
  const index = asked.type === 'request' ? asked.index : 0
  const totalBytes = manifest.chunkLength(index)
  const part = new Uint8Array(totalBytes).fill(0x55)
  return { type: 'chunk', request: asked.request, index, encoding: 0, totalBytes, offset: 0, part }
}

/** Says that it holds everything, and answers requests in its own way. */
function pretender(answer: (talk: HostileConversation, asked: Asked) => Promise<void>): Behaviour {
  return async (talk) => {
    await talk.introduce()
    await talk.answer(async (message) => {
      if (isAsked(message)) await answer(talk, message)
    })
  }
}

/** Wants everything and says something of no use all the time, while it reads what it gets. */
function chatterer(next: (talk: HostileConversation, turn: number) => SwarmMessage): Behaviour {
  return async (talk) => {
    await talk.introduce({ wants: true, holdsAll: false })
    let turn = 0
    const talking = talk.repeat(async () => {
      for (let n = 0; n < 4; n++) await talk.say(next(talk, turn++))
    }, 1)
    const listening = talk.answer(async ({ type }) => {
      if (type === 'goodbye') talk.cut()
    })
    await Promise.allSettled([talking, listening])
  }
}

function nonsensePeers(talk: HostileConversation, turn: number): SwarmMessage {
  const peers = Array.from({ length: 50 }, (_, n) => ({
    peerId: `nobody-${turn}-${n}-${Math.floor(talk.random() * 1e9)}`,
    addresses: ['/ip4/203.0.113.1/tcp/1', 'nonsense']
  }))
  return { type: 'peers', peers }
}

/** Peers that break the rules, by what they do. */
export const HOSTILE = {
  'sends wrong bytes': pretender(async (talk, asked) => talk.say(wrongAnswer(talk, asked))),
  'claims all and gives nothing': pretender(async () => {}),
  'says notHeld to everything': pretender(async (talk, { request }) =>
    talk.say({ type: 'reject', request, reason: 'notHeld' })
  ),
  'says notHeld and announces it again': pretender(async (talk, asked) => {
    await talk.say({ type: 'reject', request: asked.request, reason: 'notHeld' })
    if (asked.type === 'request') await talk.say({ type: 'have', indexes: [asked.index] })
  }),
  'says failed to everything': pretender(async (talk, { request }) =>
    talk.say({ type: 'reject', request, reason: 'failed' })
  ),
  'says spread to everything': pretender(async (talk, { request }) =>
    talk.say({ type: 'reject', request, reason: 'spread' })
  ),
  'stalls after half a chunk': pretender(async (talk, asked) => {
    const whole = wrongAnswer(talk, asked)
    await talk.say({ ...whole, part: whole.part.subarray(0, whole.totalBytes / 2) })
  }),
  'sends a byte every few seconds': pretender(async (talk, asked) => {
    const whole = wrongAnswer(talk, asked)
    for (let offset = 0; offset < whole.totalBytes && !talk.hasEnded; offset++) {
      await talk.say({ ...whole, offset, part: whole.part.subarray(offset, offset + 1) })
      await talk.clock.sleep(2000)
    }
  }),
  'announces and vanishes': async (talk) => {
    await talk.introduce()
    await talk.clock.sleep(100)
    talk.cut()
  },
  'repeats what it announced': chatterer((talk) => ({ type: 'have', indexes: talk.indexes() })),
  'says nothing, often': chatterer(() => ({ type: 'have', indexes: [] })),
  'asks for everything at once': chatterer((talk, turn) => ({
    type: 'request',
    request: turn,
    requestClass: 'demand',
    maxCopies: 255,
    index: turn % talk.chunkCount
  })),
  'cancels what it never asked for': chatterer((_, turn) => ({ type: 'cancel', request: turn })),
  'wants and does not want': chatterer((_, turn) => ({ type: 'wants', wants: turn % 2 === 1 })),
  'names peers that do not exist': chatterer(nonsensePeers),
  'asks for pages without end': chatterer((talk, turn) => ({
    type: 'pages',
    request: turn,
    ids: [talk.image.manifest.root]
  })),
  'reads nothing': async (talk) => {
    await talk.introduce({ wants: true, holdsAll: false })
    for (let request = 0; request < 200 && !talk.hasEnded; request++) {
      const ask = { request, requestClass: 'rest', maxCopies: 255 } as const
      await talk.say({ type: 'request', ...ask, index: request % talk.chunkCount })
    }
    await talk.ignore()
  },
  'says hello twice': async (talk) => {
    await talk.introduce()
    await talk.introduce()
    await talk.listen()
  },
  'answers what was not asked': async (talk) => {
    await talk.introduce()
    const asked = { type: 'request', request: 999, requestClass: 'rest', maxCopies: 0, index: 0 }
    await talk.say(wrongAnswer(talk, asked as Asked))
    await talk.listen()
  },
  'sends parts out of order': pretender(async (talk, asked) => {
    const whole = wrongAnswer(talk, asked)
    const half = whole.totalBytes / 2
    await talk.say({ ...whole, offset: half, part: whole.part.subarray(half) })
  }),
  'sends chunks of another length': pretender(async (talk, asked) => {
    const whole = wrongAnswer(talk, asked)
    await talk.say({ ...whole, totalBytes: whole.totalBytes + 1 })
  }),
  'announces chunks that do not exist': async (talk) => {
    await talk.introduce({ wants: true, holdsAll: false })
    await talk.say({ type: 'have', indexes: [talk.chunkCount] })
    await talk.listen()
  },
  'speaks a later version': async (talk) => {
    await talk.sayBytes([Uint8Array.of(1, 2, ...talk.image.manifest.root, 0, 0, 0, 0, 1, 0)])
    await talk.listen()
  },
  'has another number of chunks': async (talk) => {
    await talk.introduce({ chunkCount: talk.chunkCount + 1 })
    await talk.listen()
  },
  'has a bitfield of the wrong length': async (talk) => {
    const [head] = encodeSwarmMessage({
      type: 'handshake',
      root: talk.image.manifest.root,
      wants: true,
      holdsAll: false,
      pagesOnly: false,
      chunkCount: talk.chunkCount,
      addresses: [],
      bitfield: new Uint8Array(1)
    })
    await talk.sayBytes([head ?? new Uint8Array(), new Uint8Array(1)])
    await talk.listen()
  },
  'says random bytes': async (talk) => {
    await talk.introduce()
    await talk.sayBytes([Uint8Array.from({ length: 100 }, () => 128 + talk.random() * 128)])
    await talk.listen()
  },
  'says nothing at all': async (talk) => talk.listen()
} satisfies Record<string, Behaviour>

export type HostileName = keyof typeof HOSTILE

export const HOSTILE_NAMES = Object.keys(HOSTILE) as HostileName[]
