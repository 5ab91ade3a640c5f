import assert from 'node:assert/strict'
import type { FetchJson } from '../../src/auth/fetch-json.js'
import { createJwksDiscovery, metadataUrlsOf } from '../../src/auth/issuer-metadata.js'
import { createIntrospection, type TokenOrigin } from '../../src/auth/token-introspection.js'
import { Unavailable } from '../../src/kernel/errors.js'
import { silentLogger } from '../../src/kernel/logger.js'

const ISSUER = 'https://as.example.com/realms/main'
const [OAUTH_URL, OPENID_URL] = metadataUrlsOf(ISSUER) as [string, string]

function gate(): { promise: Promise<void>; open(): void } {
  let open = () => {}
  const promise = new Promise<void>((resolve) => {
    open = resolve
  })
  return { promise, open: () => open() }
}

describe('auth: metadata of another issuer', () => {
  it('stands between host and path, or behind the path as OpenID Connect has it', () => {
    assert.deepEqual(metadataUrlsOf(ISSUER), [
      'https://as.example.com/.well-known/oauth-authorization-server/realms/main',
      'https://as.example.com/realms/main/.well-known/openid-configuration',
    ])
    assert.deepEqual(metadataUrlsOf('https://as.example.com/'), [
      'https://as.example.com/.well-known/oauth-authorization-server',
      'https://as.example.com/.well-known/openid-configuration',
    ])
  })

  /** Answers by URL what `pages` has now; a page that is not there is a 404. */
  function start(pages: Record<string, unknown>) {
    const asked: string[] = []
    const clock = { nowMs: 1_000_000 }
    const warnings: unknown[][] = []
    let held: Promise<void> | undefined
    const hold = () => {
      const { promise, open } = gate()
      held = promise
      return open
    }
    const fetchJson: FetchJson = async ({ url }) => {
      asked.push(url)
      await held
      const body = pages[url]
      if (body instanceof Error) throw body
      return { status: body === undefined ? 404 : 200, body }
    }
    const discover = createJwksDiscovery({
      issuer: ISSUER,
      fetchJson,
      clock: { monotonicMs: () => clock.nowMs },
      logger: { ...silentLogger, warn: (...line) => void warnings.push(line) },
    })
    return { discover, asked, clock, warnings, hold }
  }

  it('is asked once, and again after an hour', async () => {
    const pages: Record<string, unknown> = {
      [OAUTH_URL]: { issuer: ISSUER, jwks_uri: 'https://as.example.com/1' },
    }
    const { discover, asked, clock, warnings } = start(pages)
    assert.deepEqual(await Promise.all([discover(), discover()]), Array(2).fill('https://as.example.com/1'))
    assert.deepEqual(asked, [OAUTH_URL])
    pages[OAUTH_URL] = { issuer: ISSUER, jwks_uri: 'https://as.example.com/2' }
    clock.nowMs += 3_600_000
    await discover()
    assert.deepEqual(asked, [OAUTH_URL])
    clock.nowMs += 1
    // In the background: nobody waits for it.
    assert.equal(await discover(), 'https://as.example.com/1')
    await new Promise(setImmediate)
    assert.equal(await discover(), 'https://as.example.com/2')
    pages[OAUTH_URL] = new Error('gone')
    clock.nowMs += 3_600_001
    await discover()
    await new Promise(setImmediate)
    assert.equal(await discover(), 'https://as.example.com/2')
    const reason = `${OAUTH_URL}: gone; ${OPENID_URL}: status 404`
    assert.deepEqual(warnings, [['oauth_issuer.discovery_failed', { issuer: ISSUER, reason }]])
    const before = asked.length
    clock.nowMs += 5_000
    await discover()
    assert.equal(asked.length, before)
    clock.nowMs += 1
    await discover()
    await new Promise(setImmediate)
    assert.equal(asked.length, before + 2)
  })

  it('is asked for once while an answer is awaited, however long that takes', async () => {
    const { discover, asked, clock, hold } = start({
      [OAUTH_URL]: { issuer: ISSUER, jwks_uri: 'https://as.example.com/1' },
    })
    const open = hold()
    const first = discover()
    clock.nowMs += 5_001
    const second = discover()
    assert.deepEqual(asked, [OAUTH_URL])
    open()
    assert.deepEqual(await Promise.all([first, second]), Array(2).fill('https://as.example.com/1'))
  })

  it('is taken from OpenID Connect where there is no other', async () => {
    const { discover } = start({ [OPENID_URL]: { issuer: ISSUER, jwks_uri: 'https://as.example.com/o' } })
    assert.equal(await discover(), 'https://as.example.com/o')
  })

  for (const [why, page, reason] of [
    ['is away', new Error('no answer'), 'no answer'],
    [
      'is another issuer’s',
      { issuer: 'https://as.example.com', jwks_uri: 'https://evil.example.com' },
      'the document names another issuer',
    ],
    ['names no keys', { issuer: ISSUER }, 'the document has no jwks_uri'],
    [
      'has no text for the place of its keys',
      { issuer: ISSUER, jwks_uri: 7 },
      'the document has no jwks_uri',
    ],
    ['is no object', 'text', 'the document names another issuer'],
    ['is null', null, 'the document names another issuer'],
  ] as const) {
    it(`is no use when it ${why}, and is not asked for without end`, async () => {
      const { discover, asked, clock, warnings } = start({ [OAUTH_URL]: page, [OPENID_URL]: page })
      await assert.rejects(discover(), {
        code: 'ERR_UNAVAILABLE',
        message: /cannot be asked for its keys now/,
      })
      assert.deepEqual(warnings, [
        [
          'oauth_issuer.discovery_failed',
          { issuer: ISSUER, reason: `${OAUTH_URL}: ${reason}; ${OPENID_URL}: ${reason}` },
        ],
      ])
      clock.nowMs += 5_000
      await assert.rejects(discover(), Unavailable)
      assert.equal(asked.length, 2)
      clock.nowMs += 1
      await assert.rejects(discover(), Unavailable)
      assert.equal(asked.length, 4)
    })
  }
})

describe('auth: introspection at another issuer', () => {
  function start(answer: () => Awaited<ReturnType<FetchJson>> | ReturnType<FetchJson>) {
    let asked = 0
    const warnings: unknown[][] = []
    const clock = { nowMs: 0 }
    const ask = createIntrospection({
      endpoint: 'https://as.example.com/introspect',
      clientId: 'hub',
      clientSecret: 'secret',
      async fetchJson() {
        asked += 1
        return await answer()
      },
      clock: { monotonicMs: () => clock.nowMs },
      logger: { ...silentLogger, warn: (...line) => void warnings.push(line) },
    })
    const introspect = (token: string, origin: Partial<TokenOrigin> = {}) =>
      ask(token, { isSigned: false, isBlocked: false, ...origin })
    return { introspect, clock, warnings, asked: () => asked }
  }

  it('counts for five seconds, whether the token is active or not', async () => {
    let active = true
    const { introspect, clock, asked } = start(() => ({ status: 200, body: { active, scope: 'ssf.read' } }))
    assert.equal((await introspect('a'))?.scope, 'ssf.read')
    active = false
    clock.nowMs = 4_999
    assert.ok(await introspect('a'))
    assert.equal(await introspect('b'), undefined)
    clock.nowMs = 5_000
    assert.equal(await introspect('a'), undefined)
    assert.equal(await introspect('b'), undefined)
    assert.equal(asked(), 3)
  })

  it('is asked once about a token that many requests bring at the same time', async () => {
    const { introspect, asked } = start(() => ({ status: 200, body: { active: true } }))
    await Promise.all(Array.from({ length: 50 }, () => introspect('a')))
    assert.equal(asked(), 1)
  })

  for (const [why, answer, reason] of [
    ['it is away', () => Promise.reject(new Error('no answer')), 'no answer'],
    ['it refuses the hub', () => ({ status: 401, body: { active: true } }), 'status 401'],
    [
      'it says nothing of use',
      () => ({ status: 200, body: { active: 'true' } }),
      'the answer has no "active"',
    ],
    ['it answers no object', () => ({ status: 200, body: null }), 'the answer has no "active"'],
  ] as const) {
    it(`believes nobody when ${why}, and asks again`, async () => {
      const { introspect, asked, warnings } = start(answer)
      await assert.rejects(introspect('a'), { code: 'ERR_UNAVAILABLE', message: /about the token now/ })
      assert.deepEqual(warnings, [['oauth_issuer.introspection_failed', { reason }]])
      // Failures take no place for good.
      for (let number = 0; number < 40; number += 1) await assert.rejects(introspect('a'), Unavailable)
      assert.equal(asked(), 41)
    })
  }

  it('bounds how many tokens wait for an answer, and keeps places for those that something vouches for', async () => {
    const gates: (() => void)[] = []
    let isSlow = false
    const { introspect, clock, asked } = start(async () => {
      if (isSlow) await new Promise<void>((resolve) => gates.push(resolve))
      return { status: 200, body: { active: true } }
    })
    await introspect('opaque, known')
    clock.nowMs = 5_000
    isSlow = true
    const waiting = Array.from({ length: 32 }, (_, number) => introspect(`garbage ${number}`))
    await assert.rejects(introspect('opaque, new'), Unavailable)
    waiting.push(introspect('opaque, known'))
    for (let number = 0; number < 63; number += 1)
      waiting.push(introspect(`jwt ${number}`, { isSigned: true }))
    await assert.rejects(introspect('one more jwt', { isSigned: true }), Unavailable)
    assert.equal(asked(), 1 + 32 + 1 + 63)
    for (const open of gates) open()
    assert.ok((await Promise.all(waiting)).every(Boolean))
    isSlow = false
    assert.ok(await introspect('opaque, new'))
    assert.ok(await introspect('one more jwt', { isSigned: true }))
  })

  it('is not asked for a blocked address, but about tokens that are signed or were active', async () => {
    let active = true
    const { introspect, clock, asked } = start(() => ({ status: 200, body: { active } }))
    const isBlocked = true
    assert.equal(await introspect('guess', { isBlocked }), undefined)
    assert.equal(asked(), 0)
    assert.ok(await introspect('jwt', { isBlocked, isSigned: true }))
    assert.ok(await introspect('guess'), 'the refusal was not kept as an answer')
    clock.nowMs = 5_000
    assert.ok(await introspect('guess', { isBlocked }))
    active = false
    clock.nowMs = 10_000
    assert.equal(await introspect('guess', { isBlocked }), undefined)
    clock.nowMs = 15_000
    assert.equal(await introspect('guess', { isBlocked }), undefined)
    assert.equal(asked(), 4)
  })
})
