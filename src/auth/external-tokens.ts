import { Unavailable } from '../kernel/errors.js'
import type { Health } from '../kernel/worker.js'
import type { Scope, Sender } from './callers.js'
import type { Introspect } from './token-introspection.js'

export interface ExternalTokens {
  readonly issuer: string
  /**
   * Which client a token of the configured issuer was issued to, and for what; undefined when it is not believed.
   * @param sender of whom too much came lately: a token that proves nothing by itself is then not asked about
   * @throws Unavailable when that cannot be told now
   */
  verify(token: string, sender?: Sender): Promise<{ clientId: string; scopes: Scope[] } | undefined>
  /** Always ok, for the rest of the hub works without it; the reason is there while tokens cannot be told. */
  health(): Health
}

export interface ExternalTokensOptions {
  readonly issuer: string
  readonly audience: string
  /** The claim that names the client: `client_id` (RFC 9068 §2.2), or what the issuer calls it. */
  readonly clientClaim: string
  /** The claims of a JWT that holds against the issuer's keys, audience and time. */
  verifyJwt(token: string): Promise<Record<string, unknown> | undefined>
  /** What the issuer says of an active token. Without it a token cannot be revoked, so it must not live long. */
  introspect?: Introspect
  readonly nowMs: () => number
}

/** CAEP interoperability profile §2.7.1: tokens live an hour at most. */
const LONGEST_S = 3_600
const SKEW_S = 5
const SCOPES: readonly Scope[] = ['ssf.read', 'ssf.manage']

type Claims = Record<string, unknown>

/**
 * Access tokens of another authorization server. A JWT is verified here, and asked about as well where introspection
 * is configured; any other token is known by introspection alone.
 */
export function createExternalTokens(options: ExternalTokensOptions): ExternalTokens {
  const { issuer, introspect } = options

  async function claimsOf(token: string, isBlocked: boolean): Promise<Claims | undefined> {
    if (!isJwt(token)) {
      const answer = await introspect?.(token, { isSigned: false, isBlocked })
      return answer && isForUs(answer, options) ? answer : undefined
    }
    const claims = await options.verifyJwt(token)
    if (!claims) return undefined
    if (!introspect) return livesShortly(claims, options.nowMs()) ? claims : undefined
    const answer = await introspect(token, { isSigned: true, isBlocked })
    return answer && isSame(answer, claims, options.clientClaim) ? claims : undefined
  }

  let awaySinceMs: number | undefined
  async function watchedClaimsOf(token: string, isBlocked: boolean): Promise<Claims | undefined> {
    try {
      const claims = await claimsOf(token, isBlocked)
      // A token that is not believed may not have needed the issuer.
      if (claims) awaySinceMs = undefined
      return claims
    } catch (error) {
      if (error instanceof Unavailable) awaySinceMs ??= options.nowMs()
      throw error
    }
  }

  return {
    issuer,
    async verify(token, sender) {
      const claims = await watchedClaimsOf(token, sender?.isBlocked ?? false)
      if (!claims || isBound(claims)) return undefined
      const clientId = claims[options.clientClaim]
      if (typeof clientId !== 'string' || clientId === '' || clientId.includes('\0')) return undefined
      return { clientId, scopes: scopesOf(claims) }
    },
    health() {
      if (awaySinceMs === undefined) return { ok: true }
      const since = new Date(awaySinceMs).toISOString()
      return { ok: true, reason: `${issuer} did not answer since ${since}; calls with its tokens get 503` }
    },
  }
}

const isJwt = (token: string): boolean => /^[\w-]+\.[\w-]+\.[\w-]*$/.test(token)

/** RFC 7662 §2.2 leaves these out of what must be said; a token for somebody else must not be good here. */
function isForUs(answer: Claims, { issuer, audience, nowMs }: ExternalTokensOptions): boolean {
  if (answer.iss !== undefined && answer.iss !== issuer) return false
  if (typeof answer.exp === 'number' && answer.exp * 1000 <= nowMs()) return false
  return Array.isArray(answer.aud) ? answer.aud.includes(audience) : answer.aud === audience
}

function isSame(answer: Claims, claims: Claims, clientClaim: string): boolean {
  return [clientClaim, 'iss', 'sub'].every(
    (name) => answer[name] === undefined || claims[name] === undefined || answer[name] === claims[name],
  )
}

function livesShortly({ iat, exp }: Claims, nowMs: number): boolean {
  const bornS = typeof iat === 'number' ? iat : nowMs / 1000
  return typeof exp === 'number' && exp - bornS <= LONGEST_S + SKEW_S
}

/** RFC 7800: good only with a proof of its key, which a bearer does not give. */
const isBound = (claims: Claims): boolean => claims.cnf !== undefined

/** `scope` as RFC 9068 §2.2.3 has it, or the `scp` of others; what is no scope of ours does not count. */
function scopesOf({ scope, scp }: Claims): Scope[] {
  const value = scope ?? scp
  const names = typeof value === 'string' ? value.split(' ') : Array.isArray(value) ? value : []
  return SCOPES.filter((known) => names.includes(known))
}
