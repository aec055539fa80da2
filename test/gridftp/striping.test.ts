import { once } from 'node:events'
import type { Socket } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { BlockDecoder } from '../../src/gridftp/mode-e.ts'
import {
  block,
  DataListener,
  openData,
  type RawFtp,
  untilClosed,
  untilCutOff
} from '../support/raw-ftp.ts'
import { sampleBytes } from '../support/sample-bytes.ts'
import { STAGE_CHUNK_BYTES, StripedStage } from '../support/striped-stage.ts'

const EOD = 0x08
const EOF = 0x40

const OPTIONS = { markerIntervalMs: 20 }

/** For tests that leave the movers alone. */
let stage: StripedStage

beforeAll(async () => {
  stage = await StripedStage.open(OPTIONS)
})

afterAll(async () => {
  await stage[Symbol.asyncDispose]()
})

/** Sends a file in blocks, in turn over the stripes, each with an EOF of its own. */
function sendStriped(stripes: readonly Socket[], bytes: Uint8Array, blockBytes: number): void {
  for (let offset = 0, at = 0; offset < bytes.length; offset += blockBytes, at++) {
    const payload = bytes.subarray(offset, offset + blockBytes)
    stripes[at % stripes.length]?.write(block(0, offset, payload))
  }
  for (const stripe of stripes) stripe.write(block(EOD + EOF, 1))
}

/** What a receiver got on one connection. */
interface Received {
  readonly blocks: { readonly offset: number; readonly bytes: Buffer }[]
  readonly eodCount: number | undefined
  readonly isClosing: boolean
}

async function receive(socket: Socket): Promise<Received> {
  const blocks: Received['blocks'] = []
  let eodCount: number | undefined
  const decoder = new BlockDecoder({
    onPayload: (offset, bytes) => blocks.push({ offset, bytes: Buffer.from(bytes) }),
    onEodCount: (count) => {
      eodCount = count
    }
  })
  socket.resume()
  while (!decoder.isEnded) {
    const [bytes] = (await once(socket, 'data')) as [Buffer]
    decoder.push(bytes)
  }
  socket.pause()
  return { blocks, eodCount, isClosing: decoder.isClosing }
}

/** Puts together what came over all connections. */
function assemble(received: readonly Received[], length: number): Buffer {
  const file = Buffer.alloc(length)
  for (const { offset, bytes } of received.flatMap(({ blocks }) => blocks)) bytes.copy(file, offset)
  return file
}

/** The argument of PORT for a port of this machine. */
function address(port: number): string {
  return `127,0,0,1,${port >> 8},${port & 255}`
}

const ascending = (left: number, right: number): number => left - right

async function store(path: string, bytes: Uint8Array): Promise<void> {
  const writer = await stage.repository.openWrite(path, { mode: 'replace' })
  await writer.write(0, bytes.slice())
  await writer.publish()
}

/** Restart ranges of the 111 markers that come before the last reply. */
async function markersAndReply(raw: RawFtp): Promise<{ ranges: string[]; last: string }> {
  const ranges: string[] = []
  for (;;) {
    const reply = await raw.reply()
    const marker = /^111 Range Marker (.*)$/.exec(reply)
    if (marker?.[1] !== undefined) ranges.push(...marker[1].split(','))
    else if (!reply.startsWith('112')) return { ranges, last: reply }
  }
}

function movedSince(before: readonly number[], direction: 'upload' | 'download'): number[] {
  return stage.moved(direction).map((bytes, at) => bytes - (before[at] ?? 0))
}

describe('a striped upload', () => {
  test('is one version of what the movers took, with borders inside of chunks', async () => {
    const image = sampleBytes(700_001)
    const before = stage.moved('upload')
    const raw = await stage.login()
    const stripes = await stage.stripes(raw)
    const opening = await raw.command('STOR /image')

    sendStriped(stripes, image, 30_000)
    const { last, ranges } = await markersAndReply(raw)

    expect(opening).toMatch(/^150 /)
    expect(last).toMatch(/^226 /)
    expect(await stage.read('/image')).toEqual(Buffer.from(image))
    expect(movedSince(before, 'upload')).toEqual([360_000, 340_001])
    expect(stage.metrics.values.has('blobswarm_gridftp_data_bytes{direction=upload}')).toBe(false)
    expect(ranges.length).toBeGreaterThan(1)
  })

  test('shows a performance marker of each stripe', async () => {
    const raw = await stage.login()
    const stripes = await stage.stripes(raw)
    await raw.command('STOR /image')

    const [first, second] = [await raw.reply(), await raw.reply()]
    sendStriped(stripes, sampleBytes(1000), 500)
    await raw.finalReply()

    expect(first).toMatch(/Stripe Index: 0\n Stripe Bytes Transferred: 0\n Total Stripe Count: 2/)
    expect(second).toMatch(/Stripe Index: 1\n Stripe Bytes Transferred: 0\n Total Stripe Count: 2/)
  })

  test('goes on over the same connections for the next file', async () => {
    const raw = await stage.login()
    const stripes = await stage.stripes(raw)
    await raw.command('STOR /first')
    sendStriped(stripes, sampleBytes(100_000, 1), 40_000)
    await raw.finalReply()

    const opening = await raw.command('STOR /second')
    sendStriped(stripes, sampleBytes(90_000, 2), 40_000)
    const last = await raw.finalReply()

    expect(opening).toMatch(/^125 /)
    expect(last).toMatch(/^226 /)
    expect(await stage.read('/second')).toEqual(Buffer.from(sampleBytes(90_000, 2)))
  })

  test('writes over a part of the file, and behind its end', async () => {
    await store('/image', new Uint8Array(200_000).fill(1))
    const raw = await stage.login()
    const stripes = await stage.stripes(raw)
    await raw.command('ESTO A 50000 /image')
    sendStriped(stripes, new Uint8Array(100_000).fill(2), 30_000)
    await raw.finalReply()
    await raw.command('APPE /image')
    sendStriped(stripes, new Uint8Array(100_000).fill(3), 30_000)
    await raw.finalReply()

    const image = await stage.read('/image')

    const expected = Buffer.alloc(300_000, 1).fill(2, 50_000, 150_000).fill(3, 200_000)
    expect(image?.equals(expected)).toBe(true)
  })

  test('with fewer bytes than announced is refused', async () => {
    const raw = await stage.login()
    const stripes = await stage.stripes(raw)
    await raw.command('ALLO 100000')
    await raw.command('STOR /short')

    sendStriped(stripes, sampleBytes(99_999), 50_000)

    expect(await raw.finalReply()).toMatch(/^426 99999 bytes arrived where ALLO announced 100000/)
    expect(await stage.read('/short')).toBeUndefined()
  })

  test('fails with the name of the stripe whose mover is gone, and frees the others', async () => {
    await using own = await StripedStage.open(OPTIONS)
    const raw = await own.login()
    const stripes = await own.stripes(raw)
    await raw.command('STOR /image')
    stripes[0]?.write(block(0, 0, 'begun'))
    const cut = stripes[0] === undefined ? Promise.resolve() : untilClosed(stripes[0])

    own.network.remove('mover-1')
    const last = await raw.finalReply()
    await cut

    expect(last).toMatch(/^451 Stripe 1 of 2 \(data mover mover-1\) failed: /)
    expect(await own.read('/image')).toBeUndefined()
    expect(await raw.command('NOOP')).toMatch(/^200 /)
    expect(own.movers[0]?.mover.sessionCount).toBe(0)
  })

  test('that broke is continued from its markers, over whatever stripes there are', async () => {
    await using own = await StripedStage.open(OPTIONS)
    const image = sampleBytes(8 * STAGE_CHUNK_BYTES)
    const part = (chunk: number): Uint8Array =>
      image.subarray(chunk * STAGE_CHUNK_BYTES, (chunk + 1) * STAGE_CHUNK_BYTES)
    const raw = await own.login()
    const stripes = await own.stripes(raw)
    await raw.command('STOR /image')
    for (const chunk of [0, 1, 2, 3, 4, 5]) {
      stripes[chunk % 2]?.write(block(0, chunk * STAGE_CHUNK_BYTES, part(chunk)))
    }
    const told: string[] = []
    while (told.length < 4) {
      const marker = /^111 Range Marker (.*)$/.exec(await raw.reply())
      if (marker?.[1] !== undefined) told.push(...marker[1].split(','))
    }
    own.network.remove('mover-1')
    const broken = await markersAndReply(raw)
    const ranges = [...told, ...broken.ranges]

    const again = await own.login()
    const [port = 0] = await own.stripedPassive(again)
    const stripe = await openData(port)
    const restart = await again.command(`REST ${ranges.join(',')}`)
    await again.command('STOR /image')
    const arrived = ranges.map((range) => range.split('-').map(Number))
    for (let chunk = 0; chunk < 8; chunk++) {
      const at = chunk * STAGE_CHUNK_BYTES
      if (arrived.some(([start = 0, end = 0]) => start <= at && at < end)) continue
      stripe.write(block(0, at, part(chunk)))
    }
    stripe.write(block(EOD + EOF, 1))
    const last = await again.finalReply()

    expect(broken.last).toMatch(/^451 /)
    expect(restart).toMatch(/^350 /)
    expect(last).toMatch(/^226 /)
    expect((await own.read('/image'))?.equals(image)).toBe(true)
  })

  test('is carried by the front too, where it is a data mover', async () => {
    await using own = await StripedStage.open({ ...OPTIONS, isFrontMover: true })
    const image = sampleBytes(300_000)
    const raw = await own.login()
    const stripes = await own.stripes(raw)
    await raw.command('STOR /image')

    sendStriped(stripes, image, 10_000)
    const last = await raw.finalReply()

    expect(last).toMatch(/^226 /)
    expect(stripes).toHaveLength(3)
    expect((await own.read('/image'))?.equals(image)).toBe(true)
    expect(own.moved('upload')).toEqual([100_000, 100_000])
  })

  test('is ended by ABOR, and the session goes on', async () => {
    const raw = await stage.login()
    const stripes = await stage.stripes(raw)
    await raw.command('STOR /aborted')
    stripes[0]?.write(block(0, 0, 'begun'))

    raw.send('ABOR\r\n')
    const [transfer, abort] = [await raw.finalReply(), await raw.finalReply()]

    expect(transfer).toMatch(/^426 /)
    expect(abort).toMatch(/^226 /)
    expect(await stage.read('/aborted')).toBeUndefined()
    expect(await raw.command('NOOP')).toMatch(/^200 /)
  })

  test('takes nothing from anybody but the client', async () => {
    const raw = await stage.login()
    const [port = 0] = await stage.stripedPassive(raw)

    await untilCutOff(port, '127.0.0.2')

    expect(await raw.command('NOOP')).toMatch(/^200 /)
  })

  test('is for files in extended block mode', async () => {
    const raw = await stage.login()
    await stage.stripedPassive(raw)

    await raw.command('MODE S')

    expect(await raw.command('STOR /image')).toMatch(
      /^425 Several addresses are for files in mode E/
    )
    expect(await raw.command('SPAS 3')).toMatch(/^501 /)
    expect(await raw.command('SPOR 1,2,3')).toMatch(/^501 /)
    expect(await raw.command('SPOR 10,0,0,1,20,20 10,0,0,2,20,20')).toMatch(/^501 Illegal address/)
  })

  test('takes this agent alone where no other mover can be reached', async () => {
    await using own = await StripedStage.open(OPTIONS)
    own.network.remove('mover-0')
    own.network.remove('mover-1')
    const raw = await own.login()

    const ports = await own.stripedPassive(raw)

    expect(ports).toHaveLength(1)
    expect(own.own.sessionCount).toBe(0)
  })

  test('takes this agent alone where a client on this machine could not come from itself', async () => {
    await using own = await StripedStage.open({ advertisedHost: '192.0.2.7' })
    const raw = await own.login()

    const reply = await raw.command('SPAS')

    expect(reply).toMatch(/^229-.*\n 127,0,0,1,\d+,\d+\n229 End$/)
    expect(own.movers.map(({ mover }) => mover.sessionCount)).toEqual([0, 0])
  })

  test('leaves nothing open at the movers when its session ends', async () => {
    const raw = await stage.login()
    const stripes = await stage.stripes(raw)
    await raw.command('STOR /left')
    stripes[0]?.write(block(0, 0, 'begun'))
    const cut = Promise.all(stripes.map(async (stripe) => untilClosed(stripe)))

    raw.close()
    await cut

    expect(await stage.read('/left')).toBeUndefined()
  })
})

describe('a striped download', () => {
  test('goes to each address of SPOR in turn, with an EOF for each', async () => {
    const image = sampleBytes(3_500_000)
    const before = stage.moved('download')
    await store('/image', image)
    const raw = await stage.login()
    const listeners = [await DataListener.open(), await DataListener.open()]
    await raw.command('OPTS RETR StripeLayout=Blocked;BlockSize=500000;Parallelism=2,2,2;')
    await raw.command(`SPOR ${listeners.map(({ port }) => address(port)).join(' ')}`)

    const opening = await raw.command('RETR /image')
    const sockets = await Promise.all(listeners.map(async (one) => one.connections(2)))
    const received = await Promise.all(
      sockets.map(async (pair) => Promise.all(pair.map(async (socket) => receive(socket))))
    )
    const last = await raw.finalReply()

    expect(opening).toMatch(/^150 /)
    expect(last).toMatch(/^226 /)
    expect(assemble(received.flat(), image.length).equals(image)).toBe(true)
    const counts = received.map((pair) =>
      pair.map(({ eodCount }) => eodCount ?? 0).toSorted(ascending)
    )
    expect(counts).toEqual([
      [0, 2],
      [0, 2]
    ])
    for (const [target, pair] of received.entries()) {
      const blocks = pair.flatMap((one) => one.blocks)
      expect(blocks.every(({ offset }) => Math.floor(offset / 500_000) % 2 === target)).toBe(true)
    }
    expect(movedSince(before, 'download')).toEqual([2_000_000, 1_500_000])
    for (const listener of listeners) listener.close()
  })

  test('goes to one address from all movers, with one EOF, and is closed in order', async () => {
    const image = sampleBytes(300_000)
    await store('/image', image)
    const raw = await stage.login()
    const listener = await raw.active()
    await raw.command('OPTS RETR StripeLayout=Partitioned;')

    await raw.command('ERET P 1000 200000 /image')
    const sockets = await listener.connections(2)
    const received = await Promise.all(sockets.map(async (socket) => receive(socket)))
    const last = await raw.finalReply()

    expect(last).toMatch(/^226 /)
    const part = assemble(received, 200_000)
    expect(part.equals(image.subarray(1000, 201_000))).toBe(true)
    expect(received.map(({ eodCount }) => eodCount ?? 0).toSorted(ascending)).toEqual([0, 2])
    expect(received.every(({ isClosing }) => isClosing)).toBe(true)
  })

  test('leaves out what the receiver has', async () => {
    const image = sampleBytes(300_000)
    await store('/image', image)
    const raw = await stage.login()
    const listener = await raw.active()
    await raw.command('OPTS RETR StripeLayout=Blocked;BlockSize=65536;')
    await raw.command('REST 0-100000,200000-250000')

    await raw.command('RETR /image')
    const sockets = await listener.connections(2)
    const received = await Promise.all(sockets.map(async (socket) => receive(socket)))
    await raw.finalReply()

    const expected = Buffer.from(image).fill(0, 0, 100_000).fill(0, 200_000, 250_000)
    expect(assemble(received, image.length).equals(expected)).toBe(true)
  })

  test('of an empty file is an EOD on each connection', async () => {
    await store('/empty', new Uint8Array(0))
    const raw = await stage.login()
    const listener = await raw.active()

    await raw.command('RETR /empty')
    const sockets = await listener.connections(2)
    const received = await Promise.all(sockets.map(async (socket) => receive(socket)))

    expect(await raw.finalReply()).toMatch(/^226 /)
    expect(received.flatMap(({ blocks }) => blocks)).toEqual([])
  })

  test('fails clearly where a target cannot be reached', async () => {
    await store('/image', sampleBytes(1000))
    const raw = await stage.login()
    const listener = await DataListener.open()
    const { port } = listener
    listener.close()
    await raw.command(`PORT ${address(port)}`)

    const reply = await raw.command('RETR /image')

    expect(reply).toMatch(/^42[56] Stripe \d of 2 .* failed: Cannot connect to 127.0.0.1:/)
    expect(await raw.command('NOOP')).toMatch(/^200 /)
  })
})
