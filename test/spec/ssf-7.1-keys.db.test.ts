import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { SSF } from '../../src/secevent/event-types.js'
import { addPollStream, addReceiver, hubApi } from '../support/hub-api.js'
import { sharedTwoHubs, type TwoHubs } from '../support/two-hubs.js'
import { waitUntil } from '../support/wait.js'

type Jwk = Readonly<Record<string, string>>

const MEMBERS: Readonly<Record<string, readonly string[]>> = {
  RSA: ['alg', 'e', 'kid', 'kty', 'n', 'use'],
  EC: ['alg', 'crv', 'kid', 'kty', 'use', 'x', 'y'],
}

describe('SSF 1.0 §7.1 keys and issuer of a running hub, two behind one address', function () {
  this.timeout(120_000)
  let hubs: TwoHubs
  before(async () => {
    hubs = await sharedTwoHubs()
  })

  async function keysOf(url: string): Promise<Jwk[]> {
    const answer = await fetch(`${url}/ssf/jwks.json`)
    assert.equal(answer.status, 200)
    assert.match(answer.headers.get('content-type') ?? '', /^application\/json/)
    const body = (await answer.json()) as { keys: Jwk[] }
    assert.deepEqual(Object.keys(body), ['keys'])
    return body.keys
  }

  it('have public members alone, of kinds that every verifier reads, each under a kid of its own (T-10, T-11, T-13)', async () => {
    const keys = await keysOf(hubs.url)
    assert.ok(keys.length >= 2)
    for (const key of keys) {
      assert.deepEqual(Object.keys(key).sort(), MEMBERS[key.kty ?? ''], key.kty)
      assert.equal(key.use, 'sig')
      assert.equal(key.alg, key.kty === 'RSA' ? 'RS256' : 'ES256')
      if (key.kty === 'RSA') assert.ok(Buffer.from(key.n ?? '', 'base64url').length >= 256)
      else assert.equal(key.crv, 'P-256')
    }
    assert.equal(new Set(keys.map(({ kid }) => kid)).size, keys.length)
    for (const url of hubs.directUrls) assert.deepEqual(await keysOf(url), keys)
  })

  for (const signing_alg of ['RS256', 'ES256']) {
    it(`have the one that a SET names, for ${signing_alg}, and its issuer is spelled as in metadata and configuration (T-3, T-11)`, async () => {
      const admin = hubApi(() => hubs.url, hubs.adminToken)
      const { token } = await addReceiver(admin, randomUUID(), { signing_alg })
      const receiver = hubApi(() => hubs.url, token)
      const { streamId, path } = await addPollStream(receiver)
      const { iss, aud } = await receiver.call<{ iss: string; aud: unknown }>(
        'GET',
        `/ssf/streams?stream_id=${streamId}`,
      )
      await receiver.call('POST', '/ssf/verify', { stream_id: streamId, state: 's' })
      const set = await waitUntil('the verification', async () => {
        const { sets } = await receiver.call<{ sets: Record<string, string> }>('POST', path, {
          returnImmediately: true,
        })
        return Object.values(sets)[0]
      })
      const [header, claims] = set
        .split('.')
        .slice(0, 2)
        .map((part) => JSON.parse(Buffer.from(part, 'base64url').toString()))
      assert.ok(SSF.verification in claims.events)
      const named = (await keysOf(hubs.url)).filter(({ kid }) => kid === header.kid)
      assert.deepEqual(
        named.map(({ alg }) => alg),
        [signing_alg],
      )
      const metadata = await fetch(`${hubs.url}/.well-known/ssf-configuration`)
      const { issuer } = (await metadata.json()) as { issuer: string }
      assert.deepEqual([issuer, iss, claims.iss], [hubs.url, hubs.url, hubs.url])
      assert.ok(aud)
      assert.deepEqual(claims.aud, aud)
    })
  }
})
