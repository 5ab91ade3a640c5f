import { json, type RequestHandler } from 'express'
import { InvalidRequest } from '../kernel/errors.js'

const MAX_DEPTH = 32

/** What Postgres can hold neither as text nor as jsonb: U+0000 and halves of surrogate pairs. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: U+0000 is exactly what is looked for
export const UNSTORABLE = /[\u0000\p{Surrogate}]/u

/**
 * Parses the body as JSON whatever its Content-Type says, for the specification's own examples have none.
 * An absent body leaves `req.body` undefined. To be placed after authentication.
 * @param limit largest body, e.g. `'16kb'`
 */
export function jsonBody(limit: number | string = '64kb'): RequestHandler {
  const parse = json({ limit, type: () => true, inflate: false })
  return (req, res, next) => {
    parse(req, res, (error?: unknown) => {
      if (error !== undefined) return next(error)
      const reason = findUnstorable(req.body)
      next(reason && new InvalidRequest(reason))
    })
  }
}

/** Walks without recursion: the nesting is the caller's choice, the stack is ours. */
function findUnstorable(body: unknown): string | undefined {
  const open: { value: unknown; depth: number }[] = [{ value: body, depth: 0 }]
  for (let next = open.pop(); next; next = open.pop()) {
    const { value, depth } = next
    if (typeof value === 'string' && UNSTORABLE.test(value)) {
      return 'The body holds U+0000 or half of a surrogate pair in a string; remove it.'
    }
    if (typeof value !== 'object' || value === null) continue
    if (depth === MAX_DEPTH) return `The body is nested deeper than ${MAX_DEPTH} levels; flatten it.`
    for (const [key, member] of Object.entries(value)) {
      if (UNSTORABLE.test(key))
        return 'The body holds U+0000 or half of a surrogate pair in a name; remove it.'
      open.push({ value: member, depth: depth + 1 })
    }
  }
  return undefined
}
