import { CONTRACT_SPEC, testChannel } from '../contract/channel.ts'
import { channelPair, testMember } from '../support/channel-pair.ts'

testChannel('a channel in memory', async () => {
  const [left, right] = channelPair(testMember('A'), testMember('B'), CONTRACT_SPEC)
  const close = async (): Promise<void> => left.abort(new Error('the test is over'))
  return { left, right, close }
})
