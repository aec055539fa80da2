import type { RateLimits } from '../../peer/swarm/description.ts'
import type { Command } from '../cli.ts'
import { callAgent } from '../control-client.ts'
import { byteRate } from './arguments.ts'
import { formatLimit } from './format.ts'

/** `blobswarm limits`: shows the rate limits of the exchange with other agents, or changes them. */
export const limitsCommand: Command = {
  arguments: [0, 0],
  options: { up: { type: 'string' }, down: { type: 'string' } },
  async run({ values, socket, isJson, signal, print }) {
    const uploadRate = byteRate('--up', values.up)
    const downloadRate = byteRate('--down', values.down)
    const isChange = uploadRate !== undefined || downloadRate !== undefined
    const query = { uploadRate, downloadRate }
    const limits = (await callAgent(socket, isChange ? 'POST' : 'GET', 'limits', {
      query,
      signal
    })) as RateLimits
    if (isJson) print(JSON.stringify(limits))
    else {
      print(`up    ${formatLimit(limits.uploadRate)}`)
      print(`down  ${formatLimit(limits.downloadRate)}`)
    }
  }
}
