import type { FtpUser } from './dsi.ts'
import { isPassword, type PasswordHash } from './password.ts'
import { readUsersFile } from './users-file.ts'

/** Who wants to log in, and from where. */
export interface LoginAttempt {
  readonly name: string
  readonly password: string
  /** IP address of the client. */
  readonly address: string
  /** Both ends of the control connection are loopback addresses. */
  readonly isLoopback: boolean
}

/** Decides who may log in. */
export interface Authenticator {
  /** @returns undefined if the attempt is refused, without saying why. */
  authenticate(attempt: LoginAttempt): Promise<FtpUser | undefined>
}

/** Names that mean anonymous; the last one is what Globus clients send by default. */
const ANONYMOUS_NAMES: ReadonlySet<string> = new Set(['anonymous', 'ftp', ':globus-mapping:'])

/** Tells whether a user name means anonymous. */
export function isAnonymousName(name: string): boolean {
  return ANONYMOUS_NAMES.has(name.toLowerCase())
}

/** Lets anybody on this machine in, with any password, to do everything below `/`. */
export class LoopbackAnonymous implements Authenticator {
  async authenticate({ name, isLoopback }: LoginAttempt): Promise<FtpUser | undefined> {
    if (!isLoopback || !isAnonymousName(name)) return undefined
    return { name: 'anonymous', root: '/', mayWrite: true }
  }
}

/** Compared against when there is no such user, so that the answer takes as long. */
const NOBODY: PasswordHash = {
  N: 32_768,
  r: 8,
  p: 1,
  salt: new Uint8Array(16),
  hash: new Uint8Array(32)
}

/** Lets in who stands in a file with the right password. The file is read anew at every attempt. */
export class UsersFile implements Authenticator {
  readonly #path: string

  constructor(path: string) {
    this.#path = path
  }

  /** @throws {UsersFileError} if the file cannot be read or is malformed. */
  async authenticate({ name, password }: LoginAttempt): Promise<FtpUser | undefined> {
    const record = (await readUsersFile(this.#path)).get(name)
    const isRight = await isPassword(password, record?.password ?? NOBODY)
    return isRight ? record?.user : undefined
  }
}

/** Asks several authenticators in order and takes the first that knows the user. */
export function firstOf(authenticators: readonly Authenticator[]): Authenticator {
  return {
    authenticate: async (attempt) => {
      for (const authenticator of authenticators) {
        const user = await authenticator.authenticate(attempt)
        if (user !== undefined) return user
      }
      return undefined
    }
  }
}
