import { Unavailable } from '../kernel/errors.js'
import { verifyAccessToken } from '../secevent/verify-access-token.js'
import { type KeySource, KeysUnavailable } from '../secevent/verify-set.js'

/**
 * Checks JWTs of another authorization server against its keys.
 * @returns the claims; undefined when the token is not to be believed
 * @throws Unavailable (of what it returns) while the keys cannot be had
 */
export function createJwtVerifier(options: {
  readonly issuer: string
  readonly audience: string
  /** Its keys, for a token that arrives now. */
  keys(): Promise<KeySource>
  readonly nowMs: () => number
}): (token: string) => Promise<Record<string, unknown> | undefined> {
  const { issuer, audience, nowMs } = options
  return async (token) => {
    const keys = await options.keys()
    try {
      return await verifyAccessToken(token, { issuer, audience, keys, nowMs: nowMs() })
    } catch (cause) {
      if (!(cause instanceof KeysUnavailable)) throw cause
      throw new Unavailable('The keys of the authorization server cannot be fetched now; try again.', {
        cause,
      })
    }
  }
}
