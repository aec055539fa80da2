import type { Command } from '../cli.ts'
import { followAgent } from '../control-client.ts'
import type { PrefetchResult } from '../operations.ts'
import { movedText } from './format.ts'
import { ProgressView } from './progress.ts'

/** `blobswarm prefetch`: has the agent bring an image into its cache. */
export const prefetchCommand: Command = {
  arguments: [1, 1],
  async run({ positionals, values, socket, isJson, signal, print }) {
    const [ref = ''] = positionals
    const view = new ProgressView(ref, values.progress)
    const result = (await followAgent(socket, 'prefetch', { query: { ref }, signal }, (progress) =>
      view.show(progress)
    ).finally(() => view.finish())) as PrefetchResult
    print(isJson ? JSON.stringify(result) : movedText(result))
  }
}
