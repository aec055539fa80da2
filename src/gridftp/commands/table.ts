import { formatChecksumFeature } from '../checksum.ts'
import { featureReply, helpOnReply, helpReply } from '../features.ts'
import { type Reply, reply } from '../replies.ts'
import type { CommandDefinition } from '../types.ts'
import * as checksums from './checksums.ts'
import * as connection from './data-connection.ts'
import * as general from './general.ts'
import * as listing from './listing.ts'
import * as login from './login.ts'
import * as machine from './machine-listing.ts'
import * as namespace from './namespace.ts'
import { options } from './options.ts'
import * as parameters from './parameters.ts'
import { site } from './site.ts'
import * as striping from './striping.ts'
import * as times from './times.ts'
import * as transfer from './transfer.ts'

type Rest = Omit<CommandDefinition, 'verb' | 'auth' | 'argument' | 'syntax' | 'run'>

/** One row; `syntax` says whether there is an argument: `<path>` required, `[path]` optional. */
function row(
  verb: string,
  auth: CommandDefinition['auth'],
  syntax: string,
  command: Pick<CommandDefinition, 'run'> & Rest
): CommandDefinition {
  const argument = syntax === '' ? 'none' : syntax.startsWith('[') ? 'optional' : 'required'
  return { verb, auth, argument, syntax, ...command }
}

const ROWS: readonly CommandDefinition[] = [
  row('USER', 'anyone', '<name>', { run: login.nameUser }),
  row('PASS', 'anyone', '[password]', { run: login.checkPassword }),
  row('ACCT', 'anyone', '[account]', { run: general.account }),
  row('HOST', 'anyone', '<name>', { run: general.host, features: ['HOST'] }),
  row('CLNT', 'anyone', '<text>', { run: general.client, features: ['CLNT'] }),
  row('REIN', 'anyone', '', { run: general.reinitialize }),
  row('QUIT', 'anyone', '', { run: general.quit }),
  row('NOOP', 'anyone', '', { run: general.noop }),
  row('FEAT', 'anyone', '', { run: ({ state }) => featureReply(ROWS, state) }),
  row('HELP', 'anyone', '[command]', {
    run: (_context, verb) => (verb === '' ? helpReply(ROWS) : helpOnReply(findCommand(verb.trim())))
  }),
  row('SYST', 'anyone', '', { run: general.system }),
  row('OPTS', 'anyone', '<command> [options]', { run: options, features: ['UTF8'] }),
  row('LANG', 'anyone', '[tag]', { run: general.language, features: ['LANG EN'] }),
  row('SITE', 'user', '<command>', { run: site, isLong: true, features: ['WHOAMI'] }),
  row('STAT', 'user', '[path]', { run: listing.showStatus }),

  row('TYPE', 'user', '<I|A>', { run: parameters.type }),
  row('MODE', 'user', '<S|E>', { run: parameters.mode, features: ['PARALLEL'] }),
  row('STRU', 'user', '<F>', { run: parameters.structure }),
  row('ALLO', 'user', '<bytes>', { run: parameters.allocate }),
  row('REST', 'user', '<offset>', { run: parameters.restart, features: ['REST STREAM'] }),

  row('SBUF', 'user', '<bytes>', { run: parameters.bufferSize, features: ['SBUF'] }),
  row('TREV', 'user', '<PERF|RESTART> <seconds>', { run: parameters.markerInterval }),
  row('CKSM', 'user', '<algorithm> <offset> <length> <path>', {
    run: checksums.checksum,
    isLong: true,
    features: [formatChecksumFeature()]
  }),
  row('SCKS', 'write', '<algorithm> <sum>', { run: checksums.expectChecksum }),

  row('PASV', 'user', '', { run: connection.passive, features: ['PASV AllowDelayed;'] }),
  row('EPSV', 'user', '[1|2|ALL]', { run: connection.extendedPassive, features: ['EPSV'] }),
  row('SPAS', 'user', '[1|2]', { run: striping.stripedPassive, isLong: true, features: ['SPAS'] }),
  row('SPOR', 'user', '<address...>', { run: striping.stripedPort, features: ['SPOR'] }),
  row('PORT', 'user', '<h1,h2,h3,h4,p1,p2>', { run: connection.activePort }),
  row('EPRT', 'user', '<|family|address|port|>', {
    run: connection.extendedPort,
    features: ['EPRT']
  }),

  row('PWD', 'user', '', { run: namespace.printDirectory }),
  row('XPWD', 'user', '', { run: namespace.printDirectory }),
  row('CWD', 'user', '<path>', { run: namespace.changeDirectory, features: ['TVFS'] }),
  row('XCWD', 'user', '<path>', { run: namespace.changeDirectory }),
  row('CDUP', 'user', '', { run: namespace.changeToParent }),
  row('XCUP', 'user', '', { run: namespace.changeToParent }),
  row('MKD', 'write', '<path>', { run: namespace.makeDirectory }),
  row('XMKD', 'write', '<path>', { run: namespace.makeDirectory }),
  row('RMD', 'write', '<path>', { run: namespace.removeDirectory }),
  row('XRMD', 'write', '<path>', { run: namespace.removeDirectory }),
  row('DELE', 'write', '<path>', { run: namespace.removeFile }),
  row('RNFR', 'write', '<path>', { run: namespace.renameFrom }),
  row('RNTO', 'write', '<path>', { run: namespace.renameTo }),
  row('SIZE', 'user', '<path>', { run: namespace.size, features: ['SIZE'] }),
  row('MDTM', 'user', '<path>', { run: times.modificationTime, features: ['MDTM'] }),
  row('MFMT', 'write', '<YYYYMMDDHHMMSS> <path>', {
    run: times.setModificationTime,
    features: ['MFMT']
  }),

  row('MLST', 'user', '[path]', { run: listing.machineStatus, features: ['MLST'] }),
  row('MLSD', 'user', '[path]', { run: listing.machineList, isTransfer: true }),
  row('MLSC', 'user', '[path]', { run: machine.controlList, isLong: true, features: ['MLSC'] }),
  row('MLSR', 'user', '[path]', {
    run: machine.recursiveList,
    isTransfer: true,
    features: ['MLSR']
  }),
  row('LIST', 'user', '[path]', { run: listing.list, isTransfer: true }),
  row('NLST', 'user', '[path]', { run: listing.nameList, isTransfer: true }),

  row('RETR', 'user', '<path>', { run: transfer.retrieve, isTransfer: true }),
  row('STOR', 'write', '<path>', { run: transfer.store, isTransfer: true }),
  row('STOU', 'write', '[path]', { run: transfer.storeUnique, isTransfer: true }),
  row('APPE', 'write', '<path>', { run: transfer.append, isTransfer: true }),
  row('ERET', 'user', '<P offset length path>', {
    run: transfer.extendedRetrieve,
    isTransfer: true,
    features: ['ERET']
  }),
  row('ESTO', 'write', '<A offset path>', {
    run: transfer.extendedStore,
    isTransfer: true,
    features: ['ESTO']
  }),
  row('ABOR', 'anyone', '', { run: general.abort })
]

const BY_VERB: ReadonlyMap<string, CommandDefinition> = new Map(
  ROWS.map((command) => [command.verb, command])
)

/** Finds a command by its verb, in any case. */
export function findCommand(verb: string): CommandDefinition | undefined {
  return BY_VERB.get(verb.toUpperCase())
}

/** Commands that are refused on purpose, and why. */
const REFUSED: ReadonlyMap<string, string> = new Map([
  ['SMNT', 'There are no other file systems to mount.'],
  ['GET', 'GETPUT is not offered: use RETR.'],
  ['PUT', 'GETPUT is not offered: use STOR.']
])

/** Answers a command that is not in the table. */
export function unknownCommandReply(verb: string): Reply {
  const reason = REFUSED.get(verb)
  return reason === undefined ? reply(500, `${verb}: unknown command.`) : reply(502, reason)
}
