import { setTimeout as sleep } from 'node:timers/promises'
import { createRemoteJWKSet, errors, type JWTPayload, jwtVerify } from 'jose'
import type { createRevocationList } from './revocation-list.js'
import type { StreamConfiguration } from './ssf-receiver.js'

export const SESSION_REVOKED = 'https://schemas.openid.net/secevent/caep/event-type/session-revoked'
const ALGORITHMS = ['RS256', 'ES256']
const REPORT_TRIES = 6

export interface SetRefusal {
  err: string
  description: string
}

export interface SetHandlerOptions {
  jwksUri: string
  stream: StreamConfiguration
  revocations: ReturnType<typeof createRevocationList>
  /** How long this point takes until a revocation has effect. */
  applyDelayMs: number
  report(jti: string): Promise<string>
  onProblem(text: string): void
}

/**
 * Verifies a SET and remembers it, and only then has it acknowledged; applies it afterwards, and says so when access
 * is really refused.
 */
export function createSetHandler(options: SetHandlerOptions) {
  const keys = createRemoteJWKSet(new URL(options.jwksUri))
  const seen = new Set<string>()

  async function apply(jti: string, subject: Record<string, unknown>): Promise<void> {
    await sleep(options.applyDelayMs)
    options.revocations.add(subject)
    for (let tried = 1; ; tried += 1) {
      const result = await options.report(jti).catch((error: Error) => error.message)
      if (result === 'recorded' || result === 'repeat') return
      if (tried === REPORT_TRIES) return options.onProblem(`the report for ${jti} came back as "${result}"`)
      await sleep(100 * 2 ** tried)
    }
  }

  /** @returns undefined when accepted, else the error of RFC 8935 §2.4 */
  return async function accept(token: string): Promise<SetRefusal | undefined> {
    let payload: JWTPayload
    try {
      const expected = {
        issuer: options.stream.iss,
        audience: options.stream.aud,
        typ: 'secevent+jwt',
        algorithms: ALGORITHMS,
      }
      payload = (await jwtVerify(token, keys, expected)).payload
    } catch (error) {
      return refusalOf(error)
    }
    const events = payload.events as Record<string, unknown> | undefined
    if (typeof payload.jti !== 'string' || typeof events !== 'object') {
      return { err: 'invalid_request', description: 'jti and events are required' }
    }
    if (seen.has(payload.jti)) return undefined
    seen.add(payload.jti)
    if (SESSION_REVOKED in events) void apply(payload.jti, payload.sub_id as Record<string, unknown>)
    return undefined
  }
}

function refusalOf(error: unknown): SetRefusal {
  const description = error instanceof Error ? error.message : 'the SET cannot be verified'
  if (error instanceof errors.JWTClaimValidationFailed) {
    if (error.claim === 'iss') return { err: 'invalid_issuer', description }
    if (error.claim === 'aud') return { err: 'invalid_audience', description }
    return { err: 'invalid_request', description }
  }
  if (error instanceof errors.JWKSNoMatchingKey || error instanceof errors.JWSSignatureVerificationFailed) {
    return { err: 'invalid_key', description }
  }
  return { err: 'invalid_request', description }
}
