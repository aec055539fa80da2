import type { IncomingMessage } from 'node:http'
import { z } from 'zod'
import { BadRequestError } from './errors.ts'

const MAX_BODY_BYTES = 64 * 1024

/** A parameter that must be there. @throws {BadRequestError} */
export function needed(query: URLSearchParams, name: string): string {
  const value = query.get(name)
  if (value === null || value === '') throw new BadRequestError(`parameter ${name} is missing`)
  return value
}

/** Tells whether a parameter is `true`. */
export function isSet(query: URLSearchParams, name: string): boolean {
  return query.get(name) === 'true'
}

/** A parameter that is a whole number; undefined if it is not there. @throws {BadRequestError} */
export function numberOf(query: URLSearchParams, name: string): number | undefined {
  const text = query.get(name)
  if (text === null) return undefined
  const value = Number(text)
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(value)) {
    throw new BadRequestError(`parameter ${name} is "${text}", wanted a whole number`)
  }
  return value
}

/** As `numberOf`, for a number that must be there. @throws {BadRequestError} */
export function neededNumber(query: URLSearchParams, name: string): number {
  const value = numberOf(query, name)
  if (value === undefined) throw new BadRequestError(`parameter ${name} is missing`)
  return value
}

/** What a token is to give. */
export const tokenSchema = z.strictObject({
  roles: z.array(z.string()).optional(),
  rights: z.array(z.string()).optional(),
  expiresMs: z.number().optional()
})

/** A retention policy, or null to go by the folders above. */
export const retentionSchema = z.strictObject({
  policy: z
    .strictObject({
      last: z.int().min(1).optional(),
      youngerMs: z.int().min(1).optional()
    })
    .nullable()
})

/** Reads and checks a body of JSON. @throws {BadRequestError} */
export async function readBody<T>(request: IncomingMessage, schema: z.ZodType<T>): Promise<T> {
  let text = ''
  for await (const part of request.setEncoding('utf8')) {
    text += part as string
    if (text.length > MAX_BODY_BYTES) throw new BadRequestError('the request is too long')
  }
  const parsed = schema.safeParse(parseJson(text))
  if (parsed.success) return parsed.data
  const [issue] = parsed.error.issues
  throw new BadRequestError(`the request is malformed: ${issue?.path.join('.')} ${issue?.message}`)
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw new BadRequestError('the request is not JSON')
  }
}
