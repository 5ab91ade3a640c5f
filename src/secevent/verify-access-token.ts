import { errors, jwtVerify } from 'jose'
import { SetRejected } from './parse-set.js'
import { checkKey } from './set-header.js'
import type { KeySource } from './verify-set.js'

export interface AccessTokenExpectations {
  readonly issuer: string
  /** The token must name it in `aud`. */
  readonly audience: string
  readonly keys: KeySource
  readonly nowMs: number
}

/** `none` and symmetric ones are not among them, so nothing can allow them (RFC 8725 §3.1). */
const ACCESS_TOKEN_ALGORITHMS: readonly string[] = ['RS256', 'PS256', 'ES256', 'EdDSA']

/** RFC 9068 §2.1 wants `at+jwt`; many issuers write `JWT` or nothing. Other kinds of token are no access tokens. */
const TYPES: readonly (string | undefined)[] = ['at+jwt', 'application/at+jwt', 'jwt', undefined]
const SKEW_S = 5

/**
 * The claims of a JWT access token of another authorization server; undefined when it is not to be believed: another
 * issuer or audience, ended, not yet valid, no `exp`, another kind of token, or a signature that does not verify.
 * Throws KeysUnavailable (from the key source) and nothing else.
 */
export async function verifyAccessToken(
  token: string,
  expect: AccessTokenExpectations,
): Promise<Record<string, unknown> | undefined> {
  try {
    const { payload, protectedHeader } = await jwtVerify(
      token,
      async ({ alg = '', kid }) => {
        const key = await expect.keys.find(kid === undefined ? { alg } : { alg, kid })
        if (!key) throw new errors.JWKSNoMatchingKey()
        checkKey(key, alg)
        return key
      },
      {
        issuer: expect.issuer,
        audience: expect.audience,
        algorithms: [...ACCESS_TOKEN_ALGORITHMS],
        requiredClaims: ['exp'],
        clockTolerance: SKEW_S,
        currentDate: new Date(expect.nowMs),
      },
    )
    return TYPES.includes(protectedHeader.typ?.toLowerCase()) ? payload : undefined
  } catch (error) {
    // jose throws its own classes, and a plain TypeError for a key it finds unfit.
    if (error instanceof errors.JOSEError || error instanceof TypeError || error instanceof SetRejected) {
      return undefined
    }
    throw error
  }
}
