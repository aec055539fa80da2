import { resolve } from 'node:path'
import type { Command } from '../cli.ts'
import { followAgent } from '../control-client.ts'
import type { PullResult } from '../operations.ts'
import { movedText } from './format.ts'
import { ProgressView } from './progress.ts'

/** `blobswarm pull`: has the agent write an image to a file. */
export const pullCommand: Command = {
  arguments: [2, 2],
  options: { force: { type: 'boolean' } },
  async run({ positionals, values, socket, isJson, signal, print }) {
    const [ref = '', file = ''] = positionals
    const view = new ProgressView(ref, values.progress)
    const query = { ref, file: resolve(file), force: values.force === true }
    const result = (await followAgent(socket, 'pull', { query, signal }, (progress) =>
      view.show(progress)
    ).finally(() => view.finish())) as PullResult
    if (isJson) print(JSON.stringify(result))
    else print(movedText(result))
  }
}
