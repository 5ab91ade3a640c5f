import type { Request } from 'express'
import { NotFound } from '../kernel/errors.js'

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/

export function isUuid(value: unknown): value is string {
  return typeof value === 'string' && UUID.test(value)
}

/**
 * An id in the path. Text that cannot be an id names nothing, so it is NotFound, as an unknown id is.
 * @param what the thing's name for the caller, e.g. `receiver`
 */
export function uuidParam(req: Request, name: string, what: string): string {
  const value = req.params[name]
  if (!isUuid(value)) throw new NotFound(`There is no ${what} with this id.`)
  return value
}
