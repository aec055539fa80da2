import type { Clock } from '../lib/clock.ts'
import type { Logger, LoggerFactory } from '../lib/logger.ts'
import type { Metrics } from '../lib/metrics.ts'
import type { Random } from '../lib/random.ts'
import type { Range } from '../lib/range-set.ts'
import type { DataMover, DataMovers } from '../metadata/stripe-types.ts'
import type { Authenticator } from './auth.ts'
import type { ChecksumAlgorithm } from './checksum.ts'
import type { ChecksumThreads } from './checksum-threads.ts'
import type { DataChannel } from './data-channel.ts'
import type { DataStorageInterface, FtpUser, OpenStorage } from './dsi.ts'
import type { LoginThrottle } from './login-throttle.ts'
import type { MlstFact } from './mlst.ts'
import type { PortRange } from './passive-listener.ts'
import type { Reply } from './replies.ts'
import type { Transfer } from './transfer.ts'
import type { TransferRecorder } from './transfer-recorder.ts'

/** S: stream, one connection a file. E: extended blocks over any number of connections. */
export type TransferMode = 'S' | 'E'

/** What a server uses. */
export interface GridFtpComponents {
  readonly openStorage: OpenStorage
  readonly authenticator: Authenticator
  readonly clock: Clock
  /** Chooses passive ports. */
  readonly random: Random
  readonly logger?: LoggerFactory | undefined
  readonly metrics?: Metrics | undefined
  /** Whoever carries stripes. @default this agent answers SPAS with a port of its own */
  readonly movers?: FrontMovers | undefined
}

/** The data movers of the cluster, and this agent as one for want of others. */
export interface FrontMovers extends DataMovers {
  readonly own: DataMover
}

/** Where a server listens, and its limits. */
export interface GridFtpOptions {
  /** Address to listen on. @default '127.0.0.1' */
  readonly host?: string
  /** Port to listen on; 0 takes any. @default 0 */
  readonly port?: number
  /** A session without a command or transfer ends after this, in milliseconds. @default 600000 */
  readonly idleTimeoutMs?: number
  /** A session that has not logged in ends after this, in milliseconds. @default 120000 */
  readonly loginTimeoutMs?: number
  /**
   * A transfer fails when its data connections do not come or nothing moves for this long, in
   * milliseconds. @default 120000
   */
  readonly dataTimeoutMs?: number
  /** Sessions at the same time. @default 256 */
  readonly maxSessions?: number
  /** Sessions at the same time from one address. @default 64 */
  readonly maxSessionsPerAddress?: number
  /** Data connections that one session may have open. @default 64 */
  readonly maxDataSockets?: number
  /** Commands that may wait in a session; more are left unread. @default 256 */
  readonly maxQueuedCommands?: number
  /** Longest command line, in bytes. @default 8192 */
  readonly maxLineBytes?: number
  /** First and last port for passive data connections. @default any port */
  readonly passivePorts?: PortRange | undefined
  /**
   * IPv4 address that PASV tells clients, where they reach us through address translation.
   *
   * @default the control connection's
   */
  readonly advertisedAddress?: string | undefined
  /**
   * IP address at which data connections are awaited after PASV and SPAS, and from which they are
   * opened, for clients whose control connection is of the same family; not for those on loopback.
   *
   * @default the control connection's
   */
  readonly dataAddress?: string | undefined
  /**
   * Data may also come from and go to machines other than the client's, as transfers between two
   * servers need. In clear text anybody who finds the port could then send the data. @default false
   */
  readonly allowsThirdParty?: boolean
  /** Bytes of one upload that may wait for the storage. @default 16777216 */
  readonly queueBytes?: number
  /** Writes, or chunks, of one upload that may be under way in the storage. @default 64 */
  readonly queueDepth?: number
  /** Time from one performance marker to the next, in milliseconds. @default 5000 */
  readonly markerIntervalMs?: number
  /**
   * Wait after a failed login, in milliseconds; it doubles with every further one up to 8 s.
   *
   * @default 500
   */
  readonly loginDelayMs?: number
}

type AddressOptions = 'passivePorts' | 'advertisedAddress' | 'dataAddress'

/** Options with every default filled in. */
export type GridFtpSettings = Required<Omit<GridFtpOptions, AddressOptions>> &
  Pick<GridFtpOptions, AddressOptions>

/** What all sessions of a server share. */
export interface SessionServices {
  readonly openStorage: OpenStorage
  readonly authenticator: Authenticator
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  readonly throttle: LoginThrottle
  readonly recorder: TransferRecorder
  readonly checksums: ChecksumThreads
  readonly settings: GridFtpSettings
  readonly movers: FrontMovers | undefined
}

/** Somebody who has logged in. */
export interface LoggedIn {
  readonly user: FtpUser
  readonly storage: DataStorageInterface
}

/** Who the session belongs to: nobody yet → named by USER → logged in by PASS. */
export type LoginState =
  | { readonly kind: 'nobody' }
  | { readonly kind: 'named'; readonly name: string }
  | ({ readonly kind: 'loggedIn' } & LoggedIn)

/** Which part of a file each stripe of a download carries, by OPTS RETR. */
export type StripeLayout =
  | { readonly kind: 'partitioned' }
  | { readonly kind: 'blocked'; readonly blockBytes: number }

/** What SCKS announced of the next upload. */
export interface ExpectedChecksum {
  readonly algorithm: ChecksumAlgorithm
  /** Lower-case hex. */
  readonly sum: string
}

/** What commands of one session leave for later ones. */
export interface SessionState {
  login: LoginState
  failedLogins: number
  /** As the user sees it, normal. */
  directory: string
  type: 'A' | 'I'
  mode: TransferMode
  /** Connections to open when we send in mode E. */
  parallelism: number
  /** Undefined: the client did not ask for one. */
  stripeLayout: StripeLayout | undefined
  /** Block size of OPTS RETR for the next blocked layout. */
  stripeBlockBytes: number | undefined
  /** Time between performance markers of uploads, in milliseconds; undefined: the server's. */
  performanceIntervalMs: number | undefined
  /** Time between restart markers, in milliseconds; undefined: the server's. */
  restartIntervalMs: number | undefined
  /** Time between performance markers of downloads, in milliseconds; undefined: none. */
  retrieveMarkerIntervalMs: number | undefined
  /** Time between status markers of CKSM, in milliseconds; undefined: none. */
  checksumMarkerIntervalMs: number | undefined
  /** TCP buffer size that the client asked for, in bytes; shown by STAT, the kernel decides. */
  bufferBytes: number | undefined
  /** PASV and EPSV open their port when the transfer begins (OPTS PASV AllowDelayed). */
  isPassiveDelayed: boolean
  /** MLSR goes on where a folder cannot be listed. */
  skipsListingErrors: boolean
  /** MLSR goes through links to folders. */
  followsLinks: boolean
  facts: ReadonlySet<MlstFact>
  /** EPSV ALL was given: other ways to open a data connection are refused (RFC 2428 §4). */
  isEpsvOnly: boolean
  /** Set by REST for the next command. */
  restartOffset: number | undefined
  /** Set by REST with ranges for the next command: what has arrived at the receiver already. */
  restartRanges: readonly Range[] | undefined
  /** Set by ALLO for the next upload. */
  announcedBytes: number | undefined
  /** Set by SCKS for the next upload. */
  expectedChecksum: ExpectedChecksum | undefined
  /** Set by RNFR for the next command, as the user sees it. */
  renameFrom: string | undefined
}

/** What a command works on. */
export interface CommandContext {
  readonly services: SessionServices
  readonly state: SessionState
  readonly channel: DataChannel
  /** Both ends of the control connection. */
  readonly peerHost: string
  readonly localHost: string
  /** Aborted when the client has gone or the server stops. */
  readonly signal: AbortSignal
  /** Sends a reply before the last one of the command. */
  send(reply: Reply): Promise<void>
  /** Sends a reply unless the client does not read those before it. @returns whether it was sent. */
  trySend(reply: Reply): boolean
  /** The client has not closed the control connection, or has said QUIT before. */
  isClientThere(): boolean
  /** The transfer that ABOR and STAT are about. */
  transfer: Transfer | undefined
}

/**
 * Carries a command out and gives its last reply. Throws for a failure; replies.ts knows the reply.
 */
export type CommandHandler = (context: CommandContext, argument: string) => Promise<Reply> | Reply

/** One row of the command table. */
export interface CommandDefinition {
  readonly verb: string
  /** anyone: before login too. write: only for users who may change things. */
  readonly auth: 'anyone' | 'user' | 'write'
  readonly argument: 'none' | 'optional' | 'required'
  /** What HELP shows after the verb; empty when there is no argument. */
  readonly syntax: string
  /** Moves data: ABOR ends it, and what was set for one transfer is used up. */
  readonly isTransfer?: boolean
  /** Moves no data but may take long: ABOR ends it too. */
  readonly isLong?: boolean
  /** Lines of FEAT that this command stands for. */
  readonly features?: readonly string[]
  readonly run: CommandHandler
}
