import { LRUCache } from 'lru-cache'
import type { Clock } from '../kernel/clock.js'
import { describeError, Unavailable } from '../kernel/errors.js'
import type { Logger } from '../kernel/logger.js'
import { basicCredentials } from './basic-credentials.js'
import type { FetchJson } from './fetch-json.js'
import { hashSecret } from './secrets.js'

export interface IntrospectionOptions {
  readonly endpoint: string
  readonly clientId: string
  readonly clientSecret: string
  readonly fetchJson: FetchJson
  readonly clock: Pick<Clock, 'monotonicMs'>
  readonly logger: Logger
}

/** How long an answer counts: a revocation there holds here after this at the latest. */
const INTROSPECTION_CACHE_MS = 5_000
const REMEMBERED = 10_000
/** Anybody may send tokens that nobody issued. */
const MAX_WAITING = 64

/**
 * Asks the authorization server about a token (RFC 7662). Answers are kept for 5 s, good ones and bad ones alike.
 * @returns what it says of an active token; undefined when it is not active
 * @throws Unavailable when there is no answer: a token that may be revoked is not believed
 */
export function createIntrospection(
  options: IntrospectionOptions,
): (token: string) => Promise<Record<string, unknown> | undefined> {
  const { fetchJson, clock, logger } = options
  const answers = new LRUCache<
    string,
    { atMs: number; answer: Promise<Record<string, unknown> | undefined> }
  >({
    max: REMEMBERED,
  })
  const authorization = basicCredentials(options.clientId, options.clientSecret)
  let waiting = 0

  async function ask(token: string): Promise<Record<string, unknown> | undefined> {
    if (waiting >= MAX_WAITING) throw away()
    waiting += 1
    try {
      const form = { token, token_type_hint: 'access_token' }
      const { status, body } = await fetchJson({ url: options.endpoint, form, authorization })
      if (status !== 200) throw new Error(`status ${status}`)
      const { active } = (body ?? {}) as { active?: unknown }
      if (typeof active !== 'boolean') throw new Error('the answer has no "active"')
      return active ? (body as Record<string, unknown>) : undefined
    } catch (error) {
      if (error instanceof Unavailable) throw error
      logger.warn('oauth_issuer.introspection_failed', { reason: describeError(error) })
      throw away()
    } finally {
      waiting -= 1
    }
  }

  return (token) => {
    const key = hashSecret(token).toString('base64')
    const known = answers.get(key)
    if (known && clock.monotonicMs() - known.atMs < INTROSPECTION_CACHE_MS) return known.answer
    // From before the question, so that the answer cannot be older than it counts.
    const entry = { atMs: clock.monotonicMs(), answer: ask(token) }
    answers.set(key, entry)
    entry.answer.catch(() => answers.delete(key))
    return entry.answer
  }
}

const away = (): Unavailable =>
  new Unavailable('The authorization server cannot be asked about the token now; try again.')
