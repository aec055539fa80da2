import { describe } from '@jest/globals'
import { MIB } from '../../src/lib/bytes.ts'
import { testOwnClient } from '../contract/own-client.ts'
import { startGlobusServer } from '../support/globus-server.ts'
import { findProgram, testWith } from '../support/programs.ts'

const SERVER = 'globus-gridftp-server'

describe('our client against globus-gridftp-server', () => {
  testOwnClient(
    (name, body) => testWith(SERVER, name, body),
    async () => (findProgram(SERVER) === undefined ? undefined : startGlobusServer()),
    [20 * MIB]
  )
})
