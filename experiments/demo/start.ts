import { loadConfig } from '../../src/agent/config.ts'
import { startAgent } from '../../src/agent/main.ts'
import type { Ready } from '../support/agent-process.ts'

// `npm start`: the all-in-one agent in the foreground, with a hint on what to do with it.

const config = loadConfig({ environment: process.env, settings: process.argv.slice(2) })

await startAgent(config, {
  stopWithinMs: 10_000,
  print: (line) => {
    const ready = JSON.parse(line.slice('ready '.length)) as Ready
    process.stdout.write(`${line}\n\n${hints(ready)}\n`)
  }
})

function hints(ready: Ready): string {
  const ftp = `ftp://${ready.gridftp ?? 'HOST:PORT'}`
  return [
    'A complete repository runs on this machine. Try, in another terminal:',
    '',
    `  upload     globus-url-copy -p 4 -fast file:///path/image.raw ${ftp}/images/image.raw`,
    `             curl -T image.raw ${ftp}/images/image.raw --ftp-create-dirs`,
    '             bin/blobswarm push image.raw /images/image.raw',
    '  look       bin/blobswarm ls /images        bin/blobswarm log /images/image.raw',
    '  pull       bin/blobswarm pull /images/image.raw copy.raw',
    '             bin/blobswarm pull /images/image.raw@1 first.raw     (any older version)',
    '  metrics    curl http://' + (ready.http ?? '') + '/metrics',
    '',
    'A second machine (or a second data directory) joins with a token:',
    '',
    '  bin/blobswarm token create --roles deploy',
    '  bin/blobswarm agent --data-dir other --roles deploy --http 127.0.0.1:0 --join TOKEN',
    '',
    'Ctrl-C stops the agent. Everything it keeps is in blobswarm-data/.'
  ].join('\n')
}
