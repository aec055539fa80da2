import type { Command } from '../cli.ts'
import { followAgent } from '../control-client.ts'
import { VerificationFailedError } from '../errors.ts'
import type { VerifyResult } from '../operations.ts'
import { ProgressView } from './progress.ts'

/** `blobswarm verify`: reads every chunk of an image again and checks it. */
export const verifyCommand: Command = {
  arguments: [1, 1],
  options: { repair: { type: 'boolean' } },
  async run({ positionals, values, socket, isJson, signal, print }) {
    const [ref = ''] = positionals
    const view = new ProgressView(ref, values.progress)
    const query = { ref, repair: values.repair === true }
    const result = (await followAgent(socket, 'verify', { query, signal }, (progress) =>
      view.show(progress)
    ).finally(() => view.finish())) as VerifyResult
    if (isJson) print(JSON.stringify(result))
    else {
      print(
        `${result.ref}: ${result.chunks} chunks, ${result.zeroChunks} zero, ` +
          `${result.intact} of ${result.copies} copies intact, ` +
          `${result.missing} chunks missing, ${result.corrupt} corrupt, ` +
          `${result.underReplicated} under-replicated, ${result.repaired} repaired, ` +
          `${result.unreachableProviders} providers not reached`
      )
    }
    const wrong = result.missing + result.corrupt - result.repaired
    if (wrong > 0) throw new VerificationFailedError(result.ref, result.missing, result.corrupt)
  }
}
