import { once } from 'node:events'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import { afterEach, beforeEach, expect, test } from '@jest/globals'
import { DataConnections } from '../../src/gridftp/client-data.ts'
import { FtpDataConnectionError } from '../../src/gridftp/client-errors.ts'
import { closeOf } from '../support/client-stage.ts'

let server: Server
let data: DataConnections
let address: { readonly host: string; readonly port: number }

beforeEach(async () => {
  data = new DataConnections()
  server = createServer({ pauseOnConnect: true }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  address = { host: '127.0.0.1', port: (server.address() as AddressInfo).port }
})

afterEach(() => {
  data.reset()
  server.close()
})

/** Both ends of a new connection. */
async function connected(): Promise<{ readonly near: Socket; readonly far: Socket }> {
  const arrival = once(server, 'connection')
  const [near] = await data.connect(address, 1)
  const [far] = (await arrival) as [Socket]
  if (near === undefined) throw new Error('not connected')
  return { near, far: far.on('error', () => undefined) }
}

test('a reset tells the other side that it is no end of a file', async () => {
  const { near, far } = await connected()
  near.write('half a file')

  data.reset()

  expect(await closeOf(far)).toBe('ECONNRESET')
})

test('a reset frees a connection whose other side has ended', async () => {
  const { near, far } = await connected()
  const ended = once(near, 'end')
  near.resume()
  far.end()
  await ended
  await new Promise((resolve) => process.nextTick(resolve))
  const closed = once(near, 'close')

  data.reset()

  await closed
  expect(near.destroyed).toBe(true)
})

test('says where it cannot connect', async () => {
  server.close()
  await once(server, 'close')

  const refused = data.connect(address, 2)

  await expect(refused).rejects.toThrow(FtpDataConnectionError)
  await expect(refused).rejects.toThrow(`no data connection to 127.0.0.1:${address.port}`)
})

test('connects nobody once it is closed', async () => {
  data.close()

  await expect(data.connect(address, 1)).rejects.toThrow(FtpDataConnectionError)
})
