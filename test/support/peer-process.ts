/** An agent's node in a process of its own: joins, talks, stops; then nothing may hold the process. */
import { systemClock } from '../../src/lib/clock.ts'
import { noLogger } from '../../src/lib/logger.ts'
import { secureBytes, systemRandom } from '../../src/lib/random.ts'
import { parseFullAddress } from '../../src/peer/addresses.ts'
import { parseJoinToken } from '../../src/peer/join-token.ts'
import { Libp2pNode } from '../../src/peer/node.ts'

const [token = '', protocol = ''] = process.argv.slice(2)
const components = { clock: systemClock, random: systemRandom, logger: noLogger }
const node = await Libp2pNode.create(components, secureBytes(32))
await node.start()
await node.join(token)

const [address = ''] = parseJoinToken(token).addresses
const { peerId } = parseFullAddress(address)
const channel = await node.open(peerId, { id: protocol, maxMessageBytes: 1_000_000 })
await channel.send([new Uint8Array(900_000).fill(5)])
for await (const message of channel.messages()) {
  process.stdout.write(`${node.peerId} got ${message.byteLength} bytes\n`)
  break
}
await channel.close()
await node.stop()
process.stdout.write('stopped\n')
