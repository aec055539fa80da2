import { z } from 'zod'
import { readFileIfThere, writeFileDurably } from '../lib/atomic-file.ts'
import { LimitExceededError, MalformedError } from '../lib/errors.ts'
import { toError } from '../lib/to-error.ts'
import type { MembershipGrant } from './authority.ts'
import { naturalNumber } from './codec.ts'
import { JoinRefusedError } from './errors.ts'
import { RIGHTS, ROLES } from './types.ts'

/** A token that was handed out; its secret is known by hash only. */
export interface IssuedToken {
  /** BLAKE3-256 of the secret, hexadecimal. */
  readonly secretHash: string
  readonly grant: MembershipGrant
  readonly expiresMs: number
  /** Who used it, and what it was given; certificate in base64. */
  readonly redeemed?: { readonly peerId: string; readonly certificate: string } | undefined
}

/** A token that somebody can still join with. */
export interface OpenToken {
  /** The start of the hash of its secret, by which operators name it. */
  readonly id: string
  readonly secretHash: string
  readonly grant: MembershipGrant
  readonly expiresMs: number
}

/** Characters of a token's id. */
const TOKEN_ID_LENGTH = 16

/** What a token still gives; undefined if it was used or has expired. */
export function openTokenOf(token: IssuedToken, nowMs: number): OpenToken | undefined {
  const { secretHash, grant, expiresMs, redeemed } = token
  if (redeemed !== undefined || nowMs >= expiresMs) return undefined
  return { id: secretHash.slice(0, TOKEN_ID_LENGTH), secretHash, grant, expiresMs }
}

/** Who wants to use which token. */
export interface Redemption {
  /** BLAKE3-256 of the secret, hexadecimal. */
  readonly secretHash: string
  readonly peerId: string
  readonly nowMs: number
}

/** Remembers issued tokens and who used them. Every change is durable before it is answered. */
export interface TokenTable {
  /** Keeps a new token. @throws {LimitExceededError} if too many are open. */
  add(token: IssuedToken, nowMs: number): Promise<void>
  /**
   * Uses a token: the first peer gets what `issue` makes for its grant, the same peer the same
   * certificate again, nobody else anything.
   *
   * @throws {JoinRefusedError}
   */
  redeem(redemption: Redemption, issue: (grant: MembershipGrant) => Uint8Array): Promise<Uint8Array>
  /** Everything that is remembered. */
  list(): IssuedToken[]
  /** Forgets those tokens that nobody has used. */
  remove(isMeant: (token: IssuedToken) => boolean): Promise<void>
}

/** Most tokens that are kept. */
export const MAX_TOKENS = 10_000

/** How long a used token is remembered after it expired: a joiner may have lost the answer. */
const REMEMBER_MS = 7 * 24 * 3_600_000

type Tokens = ReadonlyMap<string, IssuedToken>

function withToken(tokens: Tokens, token: IssuedToken, nowMs: number): Tokens {
  const kept = [...tokens].filter(
    ([, { expiresMs, redeemed }]) => nowMs < expiresMs + (redeemed === undefined ? 0 : REMEMBER_MS)
  )
  if (kept.length >= MAX_TOKENS) throw new LimitExceededError('number of join tokens', MAX_TOKENS)
  return new Map(kept).set(token.secretHash, token)
}

/** @returns the token if it is still to be used, or the certificate that this peer was given before. */
function redeemable(tokens: Tokens, redemption: Redemption): IssuedToken | Uint8Array {
  const token = tokens.get(redemption.secretHash)
  if (token === undefined) throw new JoinRefusedError('the token is not known here')
  if (token.redeemed?.peerId === redemption.peerId) {
    return new Uint8Array(Buffer.from(token.redeemed.certificate, 'base64'))
  }
  if (token.redeemed !== undefined) throw new JoinRefusedError('the token was used already')
  if (redemption.nowMs >= token.expiresMs) throw new JoinRefusedError('the token has expired')
  return token
}

/** Keeps tokens in memory, and wherever a subclass puts them first. */
export class MemoryTokenTable implements TokenTable {
  #tokens: Tokens
  #lastChange: Promise<void> = Promise.resolve()

  constructor(tokens: readonly IssuedToken[] = []) {
    this.#tokens = new Map(tokens.map((token) => [token.secretHash, token]))
  }

  async add(token: IssuedToken, nowMs: number): Promise<void> {
    await this.#inTurn(async () => this.#replace(withToken(this.#tokens, token, nowMs)))
  }

  async redeem(
    redemption: Redemption,
    issue: (grant: MembershipGrant) => Uint8Array
  ): Promise<Uint8Array> {
    return this.#inTurn(async () => {
      const token = redeemable(this.#tokens, redemption)
      if (token instanceof Uint8Array) return token
      const certificate = issue(token.grant)
      const text = Buffer.from(certificate).toString('base64')
      const redeemed = { peerId: redemption.peerId, certificate: text }
      await this.#replace(new Map(this.#tokens).set(token.secretHash, { ...token, redeemed }))
      return certificate
    })
  }

  list(): IssuedToken[] {
    return [...this.#tokens.values()]
  }

  async remove(isMeant: (token: IssuedToken) => boolean): Promise<void> {
    await this.#inTurn(async () => {
      const kept = [...this.#tokens].filter(
        ([, token]) => token.redeemed !== undefined || !isMeant(token)
      )
      await this.#replace(new Map(kept))
    })
  }

  /** Makes the tokens durable; the change does not happen if this rejects. */
  protected async save(_tokens: readonly IssuedToken[]): Promise<void> {}

  async #replace(tokens: Tokens): Promise<void> {
    await this.save([...tokens.values()])
    this.#tokens = tokens
  }

  async #inTurn<T>(change: () => Promise<T>): Promise<T> {
    const previous = this.#lastChange
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#lastChange = promise
    await previous
    try {
      return await change()
    } finally {
      resolve()
    }
  }
}

const fileSchema = z.strictObject({
  format: z.literal(1),
  tokens: z
    .array(
      z.strictObject({
        secretHash: z.string().regex(/^[0-9a-f]{64}$/),
        grant: z.strictObject({ roles: z.array(z.enum(ROLES)), rights: z.array(z.enum(RIGHTS)) }),
        expiresMs: naturalNumber,
        redeemed: z.strictObject({ peerId: z.string(), certificate: z.base64() }).optional()
      })
    )
    .max(MAX_TOKENS)
})

/** Keeps tokens in a JSON file, replaced as a whole at each change. */
export class FileTokenTable extends MemoryTokenTable {
  readonly #path: string

  private constructor(path: string, tokens: readonly IssuedToken[]) {
    super(tokens)
    this.#path = path
  }

  /** Reads the file, if there is one. @throws {MalformedError} if it is not what this class wrote. */
  static async open(path: string): Promise<FileTokenTable> {
    const bytes = await readFileIfThere(path)
    return new FileTokenTable(path, bytes === undefined ? [] : parseFile(path, bytes))
  }

  protected override async save(tokens: readonly IssuedToken[]): Promise<void> {
    await writeFileDurably(this.#path, `${JSON.stringify({ format: 1, tokens }, null, 2)}\n`)
  }
}

function parseFile(path: string, bytes: Uint8Array): IssuedToken[] {
  try {
    return fileSchema.parse(JSON.parse(Buffer.from(bytes).toString('utf8'))).tokens
  } catch (thrown) {
    const error = toError(thrown)
    throw new MalformedError(`token table ${path}`, error.message, { cause: error })
  }
}
