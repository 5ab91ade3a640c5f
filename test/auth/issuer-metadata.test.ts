import assert from 'node:assert/strict'
import type { FetchJson } from '../../src/auth/fetch-json.js'
import { createJwksDiscovery, metadataUrlsOf } from '../../src/auth/issuer-metadata.js'
import { createIntrospection } from '../../src/auth/token-introspection.js'
import { Unavailable } from '../../src/kernel/errors.js'
import { silentLogger } from '../../src/kernel/logger.js'

const ISSUER = 'https://as.example.com/realms/main'
const [OAUTH_URL, OPENID_URL] = metadataUrlsOf(ISSUER) as [string, string]

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
    const fetchJson: FetchJson = async ({ url }) => {
      asked.push(url)
      const body = pages[url]
      if (body instanceof Error) throw body
      return { status: body === undefined ? 404 : 200, body }
    }
    const discover = createJwksDiscovery({
      issuer: ISSUER,
      fetchJson,
      clock: { monotonicMs: () => clock.nowMs },
      logger: silentLogger,
    })
    return { discover, asked, clock }
  }

  it('is asked once, and again after an hour', async () => {
    const pages: Record<string, unknown> = {
      [OAUTH_URL]: { issuer: ISSUER, jwks_uri: 'https://as.example.com/1' },
    }
    const { discover, asked, clock } = start(pages)
    assert.deepEqual(await Promise.all([discover(), discover()]), Array(2).fill('https://as.example.com/1'))
    assert.deepEqual(asked, [OAUTH_URL])
    pages[OAUTH_URL] = { issuer: ISSUER, jwks_uri: 'https://as.example.com/2' }
    clock.nowMs += 3_600_001
    // In the background: nobody waits for it.
    assert.equal(await discover(), 'https://as.example.com/1')
    await new Promise(setImmediate)
    assert.equal(await discover(), 'https://as.example.com/2')
    pages[OAUTH_URL] = new Error('gone')
    clock.nowMs += 3_600_001
    await discover()
    await new Promise(setImmediate)
    assert.equal(await discover(), 'https://as.example.com/2')
  })

  it('is taken from OpenID Connect where there is no other', async () => {
    const { discover } = start({ [OPENID_URL]: { issuer: ISSUER, jwks_uri: 'https://as.example.com/o' } })
    assert.equal(await discover(), 'https://as.example.com/o')
  })

  for (const [why, page] of [
    ['is away', new Error('no answer')],
    ['is another issuer’s', { issuer: 'https://as.example.com', jwks_uri: 'https://evil.example.com' }],
    ['names no keys', { issuer: ISSUER }],
    ['is no object', 'text'],
  ] as const) {
    it(`is no use when it ${why}, and is not asked for without end`, async () => {
      const { discover, asked, clock } = start({ [OAUTH_URL]: page, [OPENID_URL]: page })
      await assert.rejects(discover(), Unavailable)
      await assert.rejects(discover(), Unavailable)
      assert.equal(asked.length, 2)
      clock.nowMs += 5_001
      await assert.rejects(discover(), Unavailable)
      assert.equal(asked.length, 4)
    })
  }
})

describe('auth: introspection at another issuer', () => {
  function start(answer: () => Awaited<ReturnType<FetchJson>> | Promise<never>) {
    let asked = 0
    const clock = { nowMs: 0 }
    const introspect = createIntrospection({
      endpoint: 'https://as.example.com/introspect',
      clientId: 'hub',
      clientSecret: 'secret',
      async fetchJson() {
        asked += 1
        return await answer()
      },
      clock: { monotonicMs: () => clock.nowMs },
      logger: silentLogger,
    })
    return { introspect, clock, asked: () => asked }
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

  for (const [why, answer] of [
    ['it is away', () => Promise.reject(new Error('no answer'))],
    ['it refuses the hub', () => ({ status: 401, body: undefined })],
    ['it says nothing of use', () => ({ status: 200, body: { active: 'true' } })],
    ['it answers no object', () => ({ status: 200, body: null })],
  ] as const) {
    it(`believes nobody when ${why}, and asks again`, async () => {
      const { introspect, asked } = start(answer)
      await assert.rejects(introspect('a'), Unavailable)
      await assert.rejects(introspect('a'), Unavailable)
      assert.equal(asked(), 2)
    })
  }

  it('bounds how many tokens wait for an answer', async () => {
    let release = (): void => {}
    const gate = new Promise<void>((resolve) => {
      release = resolve
    })
    const { introspect } = start(async () => {
      await gate
      throw new Error('late')
    })
    const waiting = Promise.allSettled(Array.from({ length: 64 }, (_, number) => introspect(`t${number}`)))
    await assert.rejects(introspect('one more'), Unavailable)
    release()
    await waiting
  })
})
