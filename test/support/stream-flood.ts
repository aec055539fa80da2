import type { Connection } from '@libp2p/interface'
import { Uint8ArrayList } from 'uint8arraylist'
import { nextTurn } from '../../src/lib/turn.ts'

const [DATA, WINDOW_UPDATE] = [0, 1]
const SYN = 1
const PER_TURN = 200

/** What is used of a connection's muxer; the types of libp2p hide it. */
interface Muxer {
  nextStreamID: number
  sendFrame(
    header: { type: number; flag: number; streamID: number; length: number },
    body?: Uint8ArrayList
  ): boolean
}

/**
 * Opens streams as no agent would: without waiting for anything, and without limits of its own.
 *
 * @param protocol what each asks for; undefined: nothing, ever.
 * @returns how many were opened before the connection was gone.
 */
export async function floodStreams(
  connection: Connection,
  count: number,
  protocol?: string
): Promise<number> {
  const { muxer } = connection as unknown as { readonly muxer: Muxer }
  const wish = protocol === undefined ? undefined : selecting(['/multistream/1.0.0', protocol])
  for (let opened = 0; opened < count; opened++) {
    if (connection.status !== 'open') return opened
    const streamID = muxer.nextStreamID
    muxer.nextStreamID += 2
    muxer.sendFrame({ type: WINDOW_UPDATE, flag: SYN, streamID, length: 0 })
    if (wish !== undefined) {
      const header = { type: DATA, flag: 0, streamID, length: wish.byteLength }
      muxer.sendFrame(header, new Uint8ArrayList(wish))
    }
    if (opened % PER_TURN === PER_TURN - 1) await nextTurn()
  }
  return count
}

/** Lines of multistream-select, as its client says them. */
function selecting(lines: readonly string[]): Uint8Array {
  const encoded = lines.map((line) => Buffer.from(`${line}\n`, 'utf8'))
  return Buffer.concat(encoded.flatMap((line) => [Uint8Array.of(line.byteLength), line]))
}
