import { BatchTaken } from '../eventlog/event-log.js'

/**
 * Whether another try may help: connections, serialization, deadlocks, unique races. Data that the database cannot
 * hold (SQLSTATE 22…, checks, wrong types, limits) fails for ever, so its batch is halved until it stands alone.
 */
export function isTransient(error: unknown): boolean {
  if (error instanceof BatchTaken) return true
  // A statement too large to build: half the batch makes half the statement.
  if (error instanceof RangeError) return false
  const code = (error as { code?: unknown }).code
  if (typeof code !== 'string') return true
  return !/^(22|23502|23514|42804|54)/.test(code)
}
