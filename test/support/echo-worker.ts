import { serveWorkerCalls } from '../../src/lib/worker-call.ts'

const methods = {
  echo: (value: number): number => value,
  fail: (message: string): never => {
    throw Object.assign(new Error(message), { code: 'ERR_ON_FIRE' })
  },
  die: (_argument: undefined): never => process.exit(3)
}

export type EchoMethods = typeof methods

serveWorkerCalls(methods)
