import { networkInterfaces } from 'node:os'
import { describe, expect, test } from '@jest/globals'
import { DataChannel } from '../../src/gridftp/data-channel.ts'
import { MODE_E_EOD, MODE_E_EOF } from '../../src/gridftp/mode-e-header.ts'
import { noLogger } from '../../src/lib/logger.ts'
import { seededRandom } from '../../src/lib/random.ts'
import { GridFtpStage } from '../support/gridftp-stage.ts'
import { block, DataListener, openData, type RawFtp, readAll } from '../support/raw-ftp.ts'

/** A port that nobody has at the moment. */
async function freePort(): Promise<number> {
  const listener = await DataListener.open()
  listener.close()
  return listener.port
}

async function upload(raw: RawFtp, path: string): Promise<string> {
  const data = await openData(await raw.passive())
  await raw.command(`STOR ${path}`)
  data.end('content')
  return await raw.reply()
}

describe('a range of one port', () => {
  test('serves any number of transfers one after the other, whoever closes first', async () => {
    const port = await freePort()
    await using stage = await GridFtpStage.open({ passivePorts: [port, port] })
    const raw = await stage.login()

    const replies = new Set<string>()
    for (let times = 0; times < 30; times += 1) {
      replies.add(await upload(raw, 'file')) // the client closes first
      const data = await openData(await raw.passive())
      const content = readAll(data)
      await raw.command('RETR file') // the server closes first
      await content
      replies.add(await raw.reply())
    }

    expect(replies).toEqual(new Set(['226 Transfer complete.']))
  })

  test('serves several sessions in turn, though one keeps its connection', async () => {
    const port = await freePort()
    await using stage = await GridFtpStage.open({ passivePorts: [port, port] })
    const [one, two] = [await stage.login(), await stage.login()]
    await one.command('MODE E')
    const data = await openData(await one.passive())
    data.write(Buffer.concat([block(0, 0, 'kept'), block(MODE_E_EOF + MODE_E_EOD, 1)]))
    await one.command('STOR first')
    await one.finalReply()

    const refused = await two.command('PASV')
    await one.command('PORT 127,0,0,1,200,1') // gives the port up
    const stored = await upload(two, 'second')

    expect(refused).toMatch(/^425 /)
    expect(stored).toMatch(/^226 /)
  })

  test('is free again when its session ends, however that is', async () => {
    const port = await freePort()
    await using stage = await GridFtpStage.open({ passivePorts: [port, port] })
    const endings = [
      (raw: RawFtp) => raw.send('QUIT\r\n'),
      (raw: RawFtp) => raw.socket.end(),
      (raw: RawFtp) => raw.socket.resetAndDestroy()
    ]

    for (const end of endings) {
      const raw = await stage.login()
      await raw.passive()
      end(raw)
      while (stage.server.sessionCount > 0) await new Promise(setImmediate)
    }

    expect(await upload(await stage.login(), 'file')).toMatch(/^226 /)
  })
})

test('a range that is used up says so to client, log and metric', async () => {
  const port = await freePort()
  await using stage = await GridFtpStage.open({ passivePorts: [port, port] })
  const [one, other] = [await stage.login(), await stage.login()]
  await one.passive()

  const refused = await other.command('PASV')

  const text = `No free port for a data connection: all of ${port}-${port} are in use.`
  expect(refused).toBe(`425 ${text}`)
  expect(stage.logger.lines.join('\n')).toContain(`no data connection for 127.0.0.1: ${text}`)
  expect(stage.metrics.values.get('blobswarm_gridftp_refusals_total{what=passivePort}')).toBe(1)
  expect(await other.command('NOOP')).toBe('200 OK.')
})

/** Address that clients are told where one for IPv4 is advertised. */
function told(localHost: string, dataHost?: string): string {
  const components = { random: seededRandom(1), logger: noLogger.forComponent('test') }
  const addresses = { localHost, dataHost, advertisedHost: '192.0.2.1', peerHost: localHost }
  return new DataChannel(components, { ...addresses, allowsThirdParty: false, maxSockets: 1 })
    .toldHost
}

describe('an address for data connections', () => {
  test('is where PASV and SPAS listen and what they tell; EPSV stays at the control one', async () => {
    await using stage = await GridFtpStage.open({ dataAddress: '127.0.0.9' })
    const raw = await stage.login()

    const passive = await raw.command('PASV')
    const striped = await raw.command('SPAS')
    const extended = await raw.command('EPSV')
    const data = await openData(Number(/\|(\d+)\|/.exec(extended)?.[1]))
    await raw.command('STOR file')
    data.end('content')

    expect(passive).toMatch(/\(127,0,0,9,/)
    expect(striped).toMatch(/\n 127,0,0,9,/)
    expect(await raw.reply()).toMatch(/^226 /)
  })

  test('is where we connect from', async () => {
    await using stage = await GridFtpStage.open({ dataAddress: '127.0.0.9' })
    stage.storage.put('/file', Buffer.from('content'))
    const raw = await stage.login()
    const listener = await raw.active()
    raw.send('RETR file\r\n')

    const [socket] = await listener.connections(1)

    expect(socket?.remoteAddress).toBe('127.0.0.9')
  })

  test.each(['::1', '192.0.2.1'])('%s is left alone by a client on IPv4 loopback', async (host) => {
    await using stage = await GridFtpStage.open({ dataAddress: host })
    const raw = await stage.login()

    expect(await raw.command('PASV')).toMatch(/\(127,0,0,1,/)
    expect(await upload(raw, 'file')).toMatch(/^226 /)
  })

  test('is not told where another one is advertised; that one is for IPv4 alone', () => {
    expect([told('10.0.0.1'), told('10.0.0.1', '10.1.0.1')]).toEqual(['192.0.2.1', '192.0.2.1'])
    expect([told('2001:db8::1'), told('2001:db8::1', '2001:db8::2')]).toEqual([
      '2001:db8::1',
      '2001:db8::2'
    ])
  })
})

const hasIpv6 = (networkInterfaces().lo ?? []).some(({ address }) => address === '::1')
const testWithIpv6 = hasIpv6 ? test : test.skip

describe('a server on both families', () => {
  testWithIpv6('speaks to each client in its own', async () => {
    await using stage = await GridFtpStage.open({ host: '::', advertisedAddress: '192.0.2.1' })
    const [four, six] = [await stage.login(), await stage.connect('::1')]
    await six.command('USER anonymous')
    await six.command('PASS me@')

    expect(await four.command('PASV')).toMatch(/^227 .*\(192,0,2,1,/)
    expect(await four.command('EPSV 2')).toBe('522 Network protocol not supported, use (1).')
    expect(await six.command('PASV')).toBe('425 PASV needs IPv4: use EPSV.')
    expect(await six.command('SPAS')).toBe('425 SPAS needs IPv4: use SPAS 2.')
    expect(await six.command('SPAS 2')).toMatch(/\n \|2\|::1\|\d+\|\n/)
    expect(await six.command('EPSV 1')).toBe('522 Network protocol not supported, use (2).')
    expect(await six.command('PORT 127,0,0,1,200,1')).toMatch(/^501 Illegal address/)
    expect(await six.command('EPRT |2|2001:db8::1|5000|')).toMatch(/^501 Illegal address/)
    expect(await six.command('EPRT |2|0:0::1|5000|')).toMatch(/^200 /)
    const extended = await six.command('EPSV 2')
    const data = await openData(Number(/\|(\d+)\|/.exec(extended)?.[1]), '::1')
    await six.command('STOR file')
    data.end('content')
    expect(await six.reply()).toMatch(/^226 /)
  })
})

test.each([
  ['a name to advertise', { advertisedAddress: 'ftp.example.org' }],
  ['an IPv6 address to advertise', { advertisedAddress: '::1' }],
  ['a name to listen on for data', { dataAddress: 'eth1' }]
])('refuses %s', async (_name, options) => {
  await expect(GridFtpStage.open(options)).rejects.toThrow(/address, not /)
})
