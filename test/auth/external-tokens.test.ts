import assert from 'node:assert/strict'
import { createExternalTokens, type ExternalTokensOptions } from '../../src/auth/external-tokens.js'
import type { TokenOrigin } from '../../src/auth/token-introspection.js'
import { Unavailable } from '../../src/kernel/errors.js'

const ISSUER = 'https://as.example.com'
const NOW_S = 1_800_000_000
const JWT = 'aGVhZA.cGF5bG9hZA.c2ln'
const LIVING = { client_id: 'gateway', scope: 'ssf.read', iat: NOW_S, exp: NOW_S + 600 }
/** What introspection says of a token that is for the hub. */
const ACTIVE = { aud: 'hub', client_id: 'gateway', scope: 'ssf.read' }

type Claims = Record<string, unknown>

/** Of an issuer whose signature holds on every JWT. */
function tokensOf(options: Partial<ExternalTokensOptions> & { claims?: Claims; answer?: Claims }) {
  const { claims = LIVING, answer, ...rest } = options
  return createExternalTokens({
    issuer: ISSUER,
    audience: 'hub',
    clientClaim: 'client_id',
    verifyJwt: async () => claims,
    ...(answer && { introspect: async () => answer }),
    nowMs: () => NOW_S * 1000,
    ...rest,
  })
}

const believes = async (options: Parameters<typeof tokensOf>[0], token = JWT): Promise<boolean> =>
  (await tokensOf(options).verify(token)) !== undefined

describe('auth: what an access token of another issuer is good for', () => {
  for (const [scopes, claims] of [
    [['ssf.read', 'ssf.manage'], { scope: 'openid ssf.manage ssf.read' }],
    [['ssf.manage'], { scp: ['ssf.manage', 'profile'] }],
    [['ssf.read'], { scp: 'ssf.read' }],
    [['ssf.read'], { scope: 'ssf.read', scp: ['ssf.manage'] }],
    [[], { scope: 'ssf.readonly SSF.MANAGE' }],
    [[], { scope: 7 }],
    [[], { scope: { 'ssf.read': true } }],
    [[], {}],
  ] as [string[], Claims][]) {
    it(`counts ${scopes.join(' and ') || 'no scope'} in ${JSON.stringify(claims)}`, async () => {
      const { scope: _scope, ...rest } = LIVING
      const proof = await tokensOf({ claims: { ...rest, ...claims } }).verify(JWT)
      assert.deepEqual(proof, { clientId: 'gateway', scopes })
    })
  }

  it('is for the client that the configured claim names, if that is a text that can be looked for', async () => {
    const named = (azp: unknown) => tokensOf({ clientClaim: 'azp', claims: { ...LIVING, azp } }).verify(JWT)
    assert.equal((await named('other'))?.clientId, 'other')
    for (const azp of [undefined, null, '', 7, ['other'], 'a\0b']) {
      assert.equal(await named(azp), undefined, JSON.stringify(azp))
    }
  })

  it('lives an hour and the skew of two clocks at most, where nobody is asked about its revocation', async () => {
    const lives = (claims: Claims) => believes({ claims: { client_id: 'gateway', ...claims } })
    assert.equal(await lives({ iat: NOW_S - 100, exp: NOW_S - 100 + 3_605 }), true)
    assert.equal(await lives({ iat: NOW_S - 100, exp: NOW_S - 100 + 3_606 }), false)
    assert.equal(await lives({ exp: NOW_S + 3_605 }), true)
    assert.equal(await lives({ exp: NOW_S + 3_606 }), false)
    assert.equal(await lives({ iat: 'today', exp: NOW_S + 3_605 }), true)
    assert.equal(await lives({ iat: NOW_S }), false)
    assert.equal(await lives({ iat: NOW_S, exp: `${NOW_S + 60}` }), false)
    const long = { ...LIVING, exp: NOW_S + 86_400 }
    assert.equal(await believes({ claims: long, answer: {} }), true)
  })

  it('is nothing to a bearer when it is bound to a key, whoever says so', async () => {
    const cnf = { jkt: 'x' }
    assert.equal(await believes({ claims: { ...LIVING, cnf } }), false)
    assert.equal(await believes({ answer: { ...ACTIVE, cnf } }, 'opaque'), false)
  })

  it('is refused when its signature does not hold, without a question about it', async () => {
    const verifyJwt = async () => undefined
    const introspect = () => assert.fail('asked')
    assert.equal(await believes({ verifyJwt, introspect }), false)
    // Nothing stands where the signature would: still a JWT, and not one to be asked about.
    assert.equal(await believes({ verifyJwt, introspect }, 'aGVhZA.cGF5bG9hZA.'), false)
  })

  it('is refused when introspection tells of another token', async () => {
    const claims = { ...LIVING, iss: ISSUER, sub: 'ann' }
    for (const answer of [{}, { iss: ISSUER }, { sub: 'ann', client_id: 'gateway' }, { other: 'x' }]) {
      assert.equal(await believes({ claims, answer }), true, JSON.stringify(answer))
    }
    for (const answer of [{ iss: 'https://other.example.com' }, { sub: 'bob' }, { client_id: 'other' }]) {
      assert.equal(await believes({ claims, answer }), false, JSON.stringify(answer))
    }
    // What the token does not say cannot differ.
    assert.equal(await believes({ claims: LIVING, answer: { sub: 'bob' } }), true)
  })

  it('is taken for opaque unless it has the three parts of a JWT', async () => {
    const verifyJwt = () => assert.fail('verified')
    for (const token of ['opaque', 'two.parts', 'four.parts.of.it', '..', 'a.b+c.d', 'a.b.c~']) {
      assert.equal(await believes({ verifyJwt, answer: ACTIVE }, token), true, token)
      assert.equal(await believes({ verifyJwt }, token), false, `${token}, and nobody to ask`)
    }
  })

  it('must be said to be for the hub, of its issuer and not ended, when it is opaque', async () => {
    const opaque = (change: Claims) => believes({ answer: { ...ACTIVE, ...change } }, 'opaque')
    for (const good of [
      {},
      { aud: ['x', 'hub'] },
      { iss: ISSUER },
      { exp: NOW_S + 1 },
      { exp: 'tomorrow' },
    ]) {
      assert.equal(await opaque(good), true, JSON.stringify(good))
    }
    for (const bad of [
      { aud: undefined },
      { aud: 'hub2' },
      { aud: ['x'] },
      { aud: [] },
      { iss: `${ISSUER}/` },
      { exp: NOW_S },
      { exp: NOW_S - 1 },
    ]) {
      assert.equal(await opaque(bad), false, JSON.stringify(bad))
    }
  })

  it('is asked about with what is known of its signature and of its sender', async () => {
    const origins: TokenOrigin[] = []
    const tokens = tokensOf({
      introspect: async (_token, origin) => {
        origins.push(origin)
        return ACTIVE
      },
    })
    await tokens.verify('opaque')
    await tokens.verify('opaque', { isBlocked: true })
    await tokens.verify(JWT, { isBlocked: true })
    await tokens.verify(JWT, { isBlocked: false })
    assert.deepEqual(origins, [
      { isSigned: false, isBlocked: false },
      { isSigned: false, isBlocked: true },
      { isSigned: true, isBlocked: true },
      { isSigned: true, isBlocked: false },
    ])
  })

  it('leaves a reason for readiness from the first unanswered question to the next good token', async () => {
    let nowMs = NOW_S * 1000
    let answer = async (): Promise<Claims | undefined> => LIVING
    const tokens = tokensOf({ verifyJwt: () => answer(), nowMs: () => nowMs })
    assert.deepEqual(tokens.health(), { ok: true })
    answer = async () => {
      throw new Unavailable('away')
    }
    await assert.rejects(tokens.verify(JWT), Unavailable)
    nowMs += 60_000
    await assert.rejects(tokens.verify(JWT), Unavailable)
    const reason = `${ISSUER} did not answer since 2027-01-15T08:00:00.000Z; calls with its tokens get 503`
    assert.deepEqual(tokens.health(), { ok: true, reason })
    // A token that is not believed may not have needed the issuer.
    answer = async () => undefined
    assert.equal(await tokens.verify(JWT), undefined)
    assert.deepEqual(tokens.health(), { ok: true, reason })
    answer = async () => LIVING
    await tokens.verify(JWT)
    assert.deepEqual(tokens.health(), { ok: true })
    answer = async () => {
      throw new Error('a fault of the hub')
    }
    await assert.rejects(tokens.verify(JWT), { message: 'a fault of the hub' })
    assert.deepEqual(tokens.health(), { ok: true })
  })
})
