import { join } from 'node:path'
import { afterEach, beforeEach, jest } from '@jest/globals'
import { runCli } from '../../src/agent/cli.ts'
import { ControlServer } from '../../src/agent/control-server.ts'
import { noLogger } from '../../src/lib/logger.ts'
import { RecordedOperations } from './recorded-operations.ts'
import { temporaryFolders } from './temporary-folder.ts'

/** Command lines that run in this process, and an agent whose operations only note what they are asked. */
export interface CommandLineStage {
  /** What was printed since the test began. */
  readonly stdout: string
  readonly stderr: string
  readonly operations: RecordedOperations
  /** Runs a command line. @returns its exit code. */
  run(...args: string[]): Promise<number>
}

/** Sets a new stage before each test of the file, and clears it away afterwards. */
export function commandLineStage(): CommandLineStage {
  const newFolder = temporaryFolders()
  const stage = {
    stdout: '',
    stderr: '',
    operations: new RecordedOperations(),
    async run(...args: string[]): Promise<number> {
      await runCli([...args, '--socket', socket], {})
      const { exitCode = 0 } = process
      process.exitCode = 0
      return Number(exitCode)
    }
  }
  let socket = ''
  let server: ControlServer
  beforeEach(async () => {
    socket = join(await newFolder(), 'control.sock')
    Object.assign(stage, { stdout: '', stderr: '', operations: new RecordedOperations() })
    server = new ControlServer(stage.operations, noLogger, socket)
    await server.start()
    jest.spyOn(process.stdout, 'write').mockImplementation((text, encoding, callback) => {
      stage.stdout += Buffer.isBuffer(text) ? text.toString() : String(text)
      const done = typeof encoding === 'function' ? encoding : callback
      done?.()
      return true
    })
    jest.spyOn(process.stderr, 'write').mockImplementation((text) => {
      stage.stderr += String(text)
      return true
    })
  })
  afterEach(async () => {
    jest.restoreAllMocks()
    process.exitCode = 0
    await server.stop()
  })
  return stage
}
