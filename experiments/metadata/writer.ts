/** A process of writers, forked by run.ts: joins with a token and the agents' addresses, then does as it is told. */
import { Member } from '../support/member.ts'
import { runOrder, type WriterOrder } from './writing.ts'

const [token = '', ...addresses] = process.argv.slice(2)
const member = await Member.join(token, addresses)
const metadata = member.openMetadata()
const versions = member.openVersions()
process.on('message', (order: WriterOrder | 'stop') => void obey(order))
process.on('disconnect', () => process.exit(1))
process.send?.('ready')

async function obey(order: WriterOrder | 'stop'): Promise<void> {
  if (order === 'stop') {
    await metadata.idle()
    await Promise.all([metadata.stop(), versions.stop()])
    await member.stop()
    process.exit(0)
  }
  process.send?.(await runOrder({ versions, metadata, signer: member.signer }, order))
}
