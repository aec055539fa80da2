import { z } from 'zod'
import { readFileIfThere, writeFileDurably } from '../lib/atomic-file.ts'
import { MalformedError } from '../lib/errors.ts'
import { toError } from '../lib/to-error.ts'
import { naturalNumber } from './codec.ts'
import { type MembershipCertificate, renewableUntilMs } from './membership-certificate.ts'
import { MAX_PEER_ID_LENGTH } from './peer-identity.ts'
import { RIGHTS, type Right, ROLES, type Role } from './types.ts'

/** The newest certificate that a peer was given. */
export interface RegisteredMember {
  readonly peerId: string
  readonly roles: readonly Role[]
  readonly rights: readonly Right[]
  /** When it was admitted first, milliseconds since the epoch. */
  readonly admittedMs: number
  readonly issuedMs: number
  readonly expiresMs: number
}

/** Most members that are remembered; of more, those whose certificates are oldest are forgotten. */
export const MAX_REGISTERED = 65_536

type Members = ReadonlyMap<string, RegisteredMember>

/**
 * Remembers who was given a certificate, beside the authority. For operators: who is a member is
 * decided by certificates and revocations alone.
 */
export class MemberRegister {
  #members: Members
  #lastSave: Promise<void> = Promise.resolve()
  #isSaving = false

  constructor(members: readonly RegisteredMember[] = []) {
    this.#members = new Map(members.map((member) => [member.peerId, member]))
  }

  /** Everybody, in order of their ids. */
  list(): RegisteredMember[] {
    return [...this.#members.values()].toSorted((a, b) => (a.peerId < b.peerId ? -1 : 1))
  }

  find(peerId: string): RegisteredMember | undefined {
    return this.#members.get(peerId)
  }

  /** Takes note of a certificate that was issued. Resolves when that is durable. */
  async note(certificate: Omit<MembershipCertificate, 'clusterId' | 'serial'>): Promise<void> {
    const { peerId, roles, rights, issuedMs, expiresMs } = certificate
    const known = this.#members.get(peerId)
    if (known !== undefined && known.issuedMs >= issuedMs) return
    const admittedMs = known?.admittedMs ?? issuedMs
    const member = { peerId, roles, rights, admittedMs, issuedMs, expiresMs }
    this.#members = kept(new Map(this.#members).set(peerId, member), issuedMs)
    await this.#saveSoon()
  }

  /** Makes the members durable. */
  protected async save(_members: readonly RegisteredMember[]): Promise<void> {}

  /** One save for all that came while the one before ran. */
  async #saveSoon(): Promise<void> {
    if (!this.#isSaving) {
      this.#isSaving = true
      const previous = this.#lastSave
      this.#lastSave = (async () => {
        await previous.catch(() => {}) // whose caller was told
        this.#isSaving = false
        await this.save([...this.#members.values()])
      })()
    }
    await this.#lastSave
  }
}

/** Without those who could not even renew any more. */
function kept(members: Members, nowMs: number): Members {
  const living = [...members].filter(([, member]) => nowMs < renewableUntilMs(member))
  if (living.length <= MAX_REGISTERED) return new Map(living)
  const newest = living.toSorted(([, a], [, b]) => b.issuedMs - a.issuedMs)
  return new Map(newest.slice(0, MAX_REGISTERED))
}

const fileSchema = z.strictObject({
  format: z.literal(1),
  members: z
    .array(
      z.strictObject({
        peerId: z.string().min(1).max(MAX_PEER_ID_LENGTH),
        roles: z.array(z.enum(ROLES)),
        rights: z.array(z.enum(RIGHTS)),
        admittedMs: naturalNumber,
        issuedMs: naturalNumber,
        expiresMs: naturalNumber
      })
    )
    .max(MAX_REGISTERED)
})

/** Keeps the register in a JSON file, replaced as a whole at each change. */
export class FileMemberRegister extends MemberRegister {
  readonly #path: string

  private constructor(path: string, members: readonly RegisteredMember[]) {
    super(members)
    this.#path = path
  }

  /** Reads the file, if there is one. @throws {MalformedError} if it is not what this class wrote. */
  static async open(path: string): Promise<FileMemberRegister> {
    const bytes = await readFileIfThere(path)
    return new FileMemberRegister(path, bytes === undefined ? [] : parseFile(path, bytes))
  }

  protected override async save(members: readonly RegisteredMember[]): Promise<void> {
    await writeFileDurably(this.#path, `${JSON.stringify({ format: 1, members })}\n`)
  }
}

function parseFile(path: string, bytes: Uint8Array): RegisteredMember[] {
  try {
    return fileSchema.parse(JSON.parse(Buffer.from(bytes).toString('utf8'))).members
  } catch (thrown) {
    const error = toError(thrown)
    throw new MalformedError(`member register ${path}`, error.message, { cause: error })
  }
}
