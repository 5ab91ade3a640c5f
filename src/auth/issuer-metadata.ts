import type { Clock } from '../kernel/clock.js'
import { describeError, Unavailable } from '../kernel/errors.js'
import { issuerPath } from '../kernel/issuer-url.js'
import type { Logger } from '../kernel/logger.js'
import { wellKnownUrl } from './authorization-metadata.js'
import type { FetchJson } from './fetch-json.js'

const FRESH_MS = 3_600_000
const COOLDOWN_MS = 5_000

/** RFC 8414 §3.1 between host and path, then OpenID Connect Discovery §4.1 behind the path. */
export function metadataUrlsOf(issuer: string): string[] {
  return [
    wellKnownUrl(issuer),
    `${new URL(issuer).origin}${issuerPath(issuer)}/.well-known/openid-configuration`,
  ]
}

/**
 * Finds `jwks_uri` in the metadata of an authorization server, when it is first needed and again each hour; while the
 * issuer does not answer, what it said last counts.
 */
export function createJwksDiscovery(options: {
  issuer: string
  fetchJson: FetchJson
  clock: Pick<Clock, 'monotonicMs'>
  logger: Logger
}): () => Promise<string> {
  const { issuer, fetchJson, clock, logger } = options
  let known: { uri: string; atMs: number } | undefined
  let triedMs = Number.NEGATIVE_INFINITY
  let asking: Promise<void> | undefined

  async function read(): Promise<string> {
    const reasons: string[] = []
    for (const url of metadataUrlsOf(issuer)) {
      try {
        const { status, body } = await fetchJson({ url })
        const document = (body ?? {}) as { issuer?: unknown; jwks_uri?: unknown }
        if (status !== 200) throw new Error(`status ${status}`)
        // RFC 8414 §3.3: a document of another issuer must not be used.
        if (document.issuer !== issuer) throw new Error('the document names another issuer')
        if (typeof document.jwks_uri !== 'string') throw new Error('the document has no jwks_uri')
        return document.jwks_uri
      } catch (error) {
        reasons.push(`${url}: ${describeError(error)}`)
      }
    }
    throw new Error(reasons.join('; '))
  }

  async function ask(): Promise<void> {
    triedMs = clock.monotonicMs()
    try {
      known = { uri: await read(), atMs: triedMs }
    } catch (error) {
      logger.warn('oauth_issuer.discovery_failed', { issuer, reason: describeError(error) })
    }
  }

  return async () => {
    const nowMs = clock.monotonicMs()
    if ((!known || nowMs - known.atMs > FRESH_MS) && !asking && nowMs - triedMs > COOLDOWN_MS) {
      asking = ask().finally(() => {
        asking = undefined
      })
    }
    if (!known) await asking
    if (!known) throw new Unavailable('The authorization server cannot be asked for its keys now; try again.')
    return known.uri
  }
}
