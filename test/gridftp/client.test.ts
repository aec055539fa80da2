import { afterEach, describe, expect, test } from '@jest/globals'
import { GridFtpClient } from '../../src/gridftp/client.ts'
import { FtpConnectionError } from '../../src/gridftp/client-errors.ts'
import { systemClock } from '../../src/lib/clock.ts'
import { LimitExceededError, MalformedError, NotRunningError } from '../../src/lib/errors.ts'
import { clearStages, closeOf, logIn, setStage } from '../support/client-stage.ts'
import { ManualClock } from '../support/manual-clock.ts'

afterEach(clearStages)

describe('the session', () => {
  test('needs no password when the server asks for none', async () => {
    const { client, server, connect } = await setStage(async (session) => {
      session.say('220-several', '220-lines', '220 ready')
      await session.on('USER somebody', '230 in')
      await session.on('TYPE I', '200 binary')
      await session.on('QUIT', '221 bye')
    })

    await connect()
    await client.login({ user: 'somebody' })
    await client.quit()
    await server.played

    await expect(client.size('/x')).rejects.toThrow(/control connection lost|not running/)
  })

  test('a refused login does not show the password', async () => {
    const { client, connect } = await setStage(async (session) => {
      session.say('220 ready')
      await session.on('USER', '331 password?')
      await session.on('PASS secret', '530 no')
    })
    await connect()

    const refused = client.login({ user: 'u', password: 'secret' })

    await expect(refused).rejects.toMatchObject({ replyCode: 530, message: 'PASS: 530 no' })
  })

  test('is told why it is turned away', async () => {
    const { connect } = await setStage(async (session) => session.say('421 too many sessions'))

    await expect(connect()).rejects.toMatchObject({ replyCode: 421, text: 'too many sessions' })
  })

  test('says which server cannot be reached', async () => {
    const { client, server } = await setStage(async () => undefined)
    await server.stop()

    const connected = client.connect({ host: '127.0.0.1', port: server.port })

    await expect(connected).rejects.toThrow(FtpConnectionError)
    await expect(connected).rejects.toThrow(`127.0.0.1:${server.port}: connect ECONNREFUSED`)
  })

  test('runs calls one after the other', async () => {
    const { client, server } = await logIn(async (session) => {
      await session.on('SIZE /a')
      session.say('213 1')
      await session.on('SIZE /b', '213 2')
    })

    expect(await Promise.all([client.size('/a'), client.size('/b')])).toEqual([1, 2])
    await server.played
  })

  test('gives up on a server that stays silent', async () => {
    const clock = new ManualClock()
    const { client, server } = await logIn(
      async (session) => {
        await session.on('NOOP')
      },
      { clock, idleTimeoutMs: 1000 }
    )

    const answered = client.command('NOOP')
    await server.played
    clock.advance(1000)

    await expect(answered).rejects.toThrow('nothing moved for 1000 ms')
    await expect(client.command('NOOP')).rejects.toThrow('nothing moved for 1000 ms')
  })

  test('refuses line ends inside a command', async () => {
    const { client } = await logIn(async () => undefined)

    await expect(client.command('DELE /a\r\nDELE /b')).rejects.toThrow(TypeError)
  })

  for (const [what, reply, error] of [
    ['no reply', 'nonsense', MalformedError],
    ['an endless one', `220-${'x'.repeat(300_000)}`, LimitExceededError]
  ] as const) {
    test(`closes when it hears ${what}`, async () => {
      const { connect } = await setStage(async (session) => session.say(reply))

      await expect(connect()).rejects.toThrow(error)
    })
  }

  test('cannot be used before it is connected or after it is closed', async () => {
    const client = new GridFtpClient({ clock: systemClock })

    await expect(client.size('/x')).rejects.toThrow(NotRunningError)
    client.close()
  })
})

describe('a listing', () => {
  test('comes in stream mode, whatever the last transfer was', async () => {
    const { client, server } = await logIn(async (session) => {
      const arrive = await session.passive()
      await session.on('MLSD /folder', '150 go')
      const socket = await arrive()
      socket.end('Type=file;Size=5; größe.raw\r\n')
      session.say('226 done')
    })

    const entries = await client.list('/folder')
    await server.played

    expect(entries).toMatchObject([{ name: 'größe.raw', bytes: 5 }])
  })

  test('that has no end is refused', async () => {
    const { client } = await logIn(
      async (session) => {
        const arrive = await session.passive()
        await session.on('MLSD', '150 go')
        const socket = await arrive()
        socket.write('Type=file; x\r\n'.repeat(100))
        await closeOf(socket)
        session.say('426 broken')
      },
      { maxListingBytes: 1000 }
    )

    await expect(client.list('/folder')).rejects.toThrow(LimitExceededError)
  })
})
