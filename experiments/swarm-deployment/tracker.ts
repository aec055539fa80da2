/**
 * A BitTorrent tracker for one torrent that tells every client of all others: `tracker.ts PORT INTERVAL_SECONDS`. Prints
 * `ready`, then a line for each new client.
 *
 * @see BEP 3, BEP 23 (compact peers)
 */
import { createServer } from 'node:http'

const [port, intervalSeconds] = process.argv.slice(2).map(Number)
/** Address and port in six bytes, by their text. */
const clients = new Map<string, Buffer>()

const server = createServer((request, response) => {
  const query = new URL(request.url ?? '/', 'http://tracker').searchParams
  const address = request.socket.remoteAddress?.replace(/^::ffff:/, '') ?? '0.0.0.0'
  const own = `${address}:${query.get('port') ?? 0}`
  if (query.get('event') === 'stopped') clients.delete(own)
  else {
    if (!clients.has(own)) process.stdout.write(`client ${own}\n`)
    clients.set(own, compact(address, Number(query.get('port'))))
  }
  const others = Array.from(clients).flatMap(([name, bytes]) => (name === own ? [] : [bytes]))
  const peers = Buffer.concat(others)
  const interval = `8:intervali${intervalSeconds}e12:min intervali${intervalSeconds}e`
  const head = `d${interval}5:peers${peers.byteLength}:`
  response.end(Buffer.concat([Buffer.from(head), peers, Buffer.from('e')]))
})
server.listen(port, '0.0.0.0', () => process.stdout.write('ready\n'))

function compact(address: string, clientPort: number): Buffer {
  return Buffer.from([...address.split('.').map(Number), clientPort >> 8, clientPort & 255])
}
