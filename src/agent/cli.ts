import { join, resolve } from 'node:path'
import { type ParseArgsOptionsConfig, parseArgs } from 'node:util'
import { toError } from '../lib/to-error.ts'
import { UsageError } from './errors.ts'
import { EXIT_DONE, EXIT_USAGE, exitCodeOf } from './exit-codes.ts'

/** What a command gets: its arguments, parsed, and where to write. */
export interface CommandContext {
  readonly positionals: readonly string[]
  readonly values: Readonly<Record<string, string | boolean | (string | boolean)[] | undefined>>
  /** Path of the agent's control socket. */
  readonly socket: string
  readonly environment: Readonly<Record<string, string | undefined>>
  /** Aborted by Ctrl-C and SIGTERM. */
  readonly signal: AbortSignal
  /** One JSON document instead of text. */
  readonly isJson: boolean
  readonly print: (text: string) => void
}

/** One subcommand. */
export interface Command {
  readonly options?: ParseArgsOptionsConfig
  /** Number of positional arguments, least and most. */
  readonly arguments: readonly [number, number]
  run(context: CommandContext): Promise<void>
}

interface CommandEntry {
  readonly usage: string
  readonly summary: string
  load(): Promise<Command>
}

const COMMANDS: Readonly<Record<string, CommandEntry>> = {
  agent: {
    usage:
      'agent [--config FILE] [--data-dir DIR] [--roles a,b] [--listen MULTIADDR] [--gridftp HOST:PORT] ' +
      '[--http HOST:PORT] [--join TOKEN] [--set key.path=value]...',
    summary: 'runs an agent; prints "ready {json}" when it serves',
    load: async () => (await import('./commands/agent.ts')).agentCommand
  },
  token: {
    usage:
      'token create [--roles R] [--rights read,write] [--expires 1h] | token list | token revoke ID',
    summary: 'create prints one line with which a new agent joins; list shows those not used yet',
    load: async () => (await import('./commands/token.ts')).tokenCommand
  },
  members: {
    usage: 'members',
    summary: 'shows everybody who was admitted: roles, rights, end of the certificate, revoked',
    load: async () => (await import('./commands/members.ts')).membersCommand
  },
  revoke: {
    usage: 'revoke PEER [--reason TEXT]',
    summary: 'shuts a member out everywhere and at once; PEER is its id, or the start of it',
    load: async () => (await import('./commands/members.ts')).revokeCommand
  },
  push: {
    usage: 'push FILE|- PATH [--note TEXT] [--if-newest VERSION]',
    summary: 'stores a file as the next version of PATH',
    load: async () => (await import('./commands/push.ts')).pushCommand
  },
  pull: {
    usage: 'pull REF FILE [--force]',
    summary: 'has the agent write an image to FILE, from providers and peers',
    load: async () => (await import('./commands/pull.ts')).pullCommand
  },
  prefetch: {
    usage: 'prefetch REF',
    summary: 'has the agent bring an image into its cache, from providers and peers',
    load: async () => (await import('./commands/prefetch.ts')).prefetchCommand
  },
  cache: {
    usage: 'cache [evict REF]',
    summary: 'shows the images in the cache; evict drops a version, of PATH all that are there',
    load: async () => (await import('./commands/cache.ts')).cacheCommand
  },
  cat: {
    usage: 'cat REF [--offset N] [--length N]',
    summary: 'writes bytes of an image to standard output',
    load: async () => (await import('./commands/cat.ts')).catCommand
  },
  ls: {
    usage: 'ls [PATH]',
    summary: 'lists a folder',
    load: async () => (await import('./commands/ls.ts')).lsCommand
  },
  mkdir: {
    usage: 'mkdir PATH',
    summary: 'makes a folder and what is missing above it',
    load: async () => (await import('./commands/mkdir.ts')).mkdirCommand
  },
  stat: {
    usage: 'stat REF [--sha256]',
    summary: 'shows size, version and ids of an image',
    load: async () => (await import('./commands/stat.ts')).statCommand
  },
  log: {
    usage: 'log PATH',
    summary: 'shows the versions of an image, oldest first',
    load: async () => (await import('./commands/log.ts')).logCommand
  },
  diff: {
    usage: 'diff REF REF',
    summary: 'shows which bytes of two versions differ, without reading them',
    load: async () => (await import('./commands/diff.ts')).diffCommand
  },
  clone: {
    usage: 'clone REF PATH',
    summary: 'makes an image that begins as a version of another; nothing is copied',
    load: async () => (await import('./commands/clone.ts')).cloneCommand
  },
  merge: {
    usage: 'merge REF PATH [--offset N] [--length N] [--at N] [--if-newest VERSION] [--note TEXT]',
    summary: 'makes a version of PATH in which a range reads as in REF; nothing is copied',
    load: async () => (await import('./commands/merge.ts')).mergeCommand
  },
  create: {
    usage: 'create PATH --size N [--chunk-size N] [--note TEXT]',
    summary: 'makes an image of zeros; N in bytes, or as 512M or 10G',
    load: async () => (await import('./commands/create.ts')).createCommand
  },
  mv: {
    usage: 'mv A B',
    summary: 'renames an image or folder',
    load: async () => (await import('./commands/mv.ts')).mvCommand
  },
  rm: {
    usage: 'rm REF',
    summary: 'removes an image, an empty folder or one version',
    load: async () => (await import('./commands/rm.ts')).rmCommand
  },
  pin: {
    usage: 'pin REF',
    summary: 'keeps a version, whatever the retention policy says',
    load: async () => (await import('./commands/pin.ts')).pinCommand
  },
  unpin: {
    usage: 'unpin REF',
    summary: 'lets go of a pinned version',
    load: async () => (await import('./commands/pin.ts')).unpinCommand
  },
  retention: {
    usage: 'retention PATH [--last N] [--younger 30d] [--all] [--inherit]',
    summary: "shows or sets which versions of an image, or of a folder's images, stay",
    load: async () => (await import('./commands/retention.ts')).retentionCommand
  },
  gc: {
    usage: 'gc [--dry-run]',
    summary: 'retires what no policy keeps and deletes what nothing reaches',
    load: async () => (await import('./commands/gc.ts')).gcCommand
  },
  verify: {
    usage: 'verify REF [--repair]',
    summary: 'reads every chunk of an image again and checks it',
    load: async () => (await import('./commands/verify.ts')).verifyCommand
  },
  status: {
    usage: 'status',
    summary: 'shows what the agent is and does',
    load: async () => (await import('./commands/status.ts')).statusCommand
  },
  peers: {
    usage: 'peers',
    summary: 'shows the agents that this one is connected to',
    load: async () => (await import('./commands/peers.ts')).peersCommand
  },
  swarm: {
    usage: 'swarm REF',
    summary: 'shows the exchange of an image: neighbours and who sent what',
    load: async () => (await import('./commands/swarm.ts')).swarmCommand
  },
  limits: {
    usage: 'limits [--up RATE] [--down RATE]',
    summary: 'shows or changes the rate limits of the running agent; RATE as 50MB/s, 0 for none',
    load: async () => (await import('./commands/limits.ts')).limitsCommand
  },
  providers: {
    usage: 'providers [drain N | undrain N]',
    summary: 'shows the storage providers; drain moves the chunks of one elsewhere, N is its id',
    load: async () => (await import('./commands/providers.ts')).providersCommand
  },
  config: {
    usage: 'config [--config FILE] [--set key.path=value]...',
    summary: 'prints the effective configuration',
    load: async () => (await import('./commands/config.ts')).configCommand
  }
}

const COMMON_OPTIONS = {
  socket: { type: 'string' },
  'data-dir': { type: 'string' },
  json: { type: 'boolean' },
  progress: { type: 'string' },
  help: { type: 'boolean', short: 'h' }
} as const satisfies ParseArgsOptionsConfig

/**
 * Runs one command line and sets the process's exit code: 0 done, 1 failed, 2 usage, 3 not found,
 * 4 conflict, 5 integrity, 6 cannot reach the agent or cluster. An error is one line on stderr.
 */
export async function runCli(
  args: readonly string[],
  environment: Readonly<Record<string, string | undefined>> = process.env
): Promise<void> {
  const abort = new AbortController()
  const onSignal = (): void => abort.abort(new Error('interrupted'))
  const [name, ...rest] = args
  try {
    if (name === undefined || name === 'help' || name === '--help' || name === '-h') {
      process.stdout.write(helpText())
      process.exitCode = name === undefined ? EXIT_USAGE : EXIT_DONE
      return
    }
    if (name === '--version' || name === 'version') {
      const { VERSION } = await import('./version.ts')
      process.stdout.write(`blobswarm ${VERSION}\n`)
      return
    }
    if (name !== 'agent') process.once('SIGINT', onSignal).once('SIGTERM', onSignal)
    await runCommand(name, rest, { environment, signal: abort.signal })
  } catch (thrown) {
    const error = toError(thrown)
    process.stderr.write(`blobswarm: ${error.message.replaceAll('\n', ' ')}\n`)
    process.exitCode = exitCodeOf(error)
  } finally {
    process.off('SIGINT', onSignal).off('SIGTERM', onSignal)
  }
}

async function runCommand(
  name: string,
  rest: readonly string[],
  surroundings: Pick<CommandContext, 'environment' | 'signal'>
): Promise<void> {
  const entry = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined
  if (entry === undefined)
    throw new UsageError(`unknown command "${name}" (blobswarm help lists them)`)
  const command = await entry.load()
  const { values, positionals } = parse(name, entry.usage, rest, command.options)
  if (values.help === true) {
    process.stdout.write(`blobswarm ${entry.usage}\n  ${entry.summary}\n`)
    return
  }
  const [least, most] = command.arguments
  if (positionals.length < least || positionals.length > most) {
    throw new UsageError(`usage: blobswarm ${entry.usage}`)
  }
  await command.run({
    ...surroundings,
    positionals,
    values,
    socket: socketPath(values, surroundings.environment),
    isJson: values.json === true,
    print: (text) => void process.stdout.write(`${text}\n`)
  })
}

function parse(
  name: string,
  usage: string,
  rest: readonly string[],
  options: ParseArgsOptionsConfig = {}
): Pick<CommandContext, 'values' | 'positionals'> {
  try {
    return parseArgs({
      args: [...rest],
      options: { ...COMMON_OPTIONS, ...options },
      allowPositionals: true
    })
  } catch (error) {
    const reason = toError(error).message.split('. ')[0]
    throw new UsageError(`${name}: ${reason} (usage: blobswarm ${usage})`)
  }
}

function socketPath(
  values: CommandContext['values'],
  environment: CommandContext['environment']
): string {
  if (typeof values.socket === 'string') return resolve(values.socket)
  const dataDir = values['data-dir']
  if (typeof dataDir === 'string') return resolve(join(dataDir, 'control.sock'))
  const { BLOBSWARM_SOCKET: fromEnvironment } = environment
  return resolve(fromEnvironment ?? join('blobswarm-data', 'control.sock'))
}

function helpText(): string {
  const lines = Object.values(COMMANDS).map(
    ({ usage, summary }) => `  blobswarm ${usage}\n      ${summary}\n`
  )
  return (
    `blobswarm: a versioned repository for virtual-machine images\n\n${lines.join('')}\n` +
    'Client commands talk to the agent at --socket FILE, --data-dir DIR, $BLOBSWARM_SOCKET or\n' +
    './blobswarm-data/control.sock. All take --json. REF is PATH or PATH@VERSION.\n'
  )
}
