import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { exportJWK, generateKeyPair, SignJWT } from 'jose'
import { sharedTwoHubs, type TwoHubs } from '../support/two-hubs.js'
import { assertRefusal } from './refusals/assert-refusal.js'
import { INVALID_TOKEN } from './refusals/refusal.js'

interface Client {
  readonly client_id: string
  readonly client_secret: string
}

interface TokenAnswer {
  readonly status: number
  readonly headers: Headers
  readonly body: Record<string, unknown>
}

const GRANT = { grant_type: 'client_credentials', scope: 'ssf.manage' }

describe('RFC 6749, RFC 7009, RFC 7523: the authorization server of two hubs on one database', function () {
  this.timeout(120_000)
  let hubs: TwoHubs
  let one: string
  let other: string
  before(async () => {
    hubs = await sharedTwoHubs()
    ;[one, other] = hubs.directUrls
  })

  async function addClient(settings: object = {}): Promise<Client> {
    const answer = await fetch(`${one}/v1/receivers`, {
      method: 'POST',
      headers: { authorization: `Bearer ${hubs.adminToken}` },
      body: JSON.stringify({ name: randomUUID(), ...settings }),
    })
    assert.equal(answer.status, 201)
    return (await answer.json()) as Client
  }

  async function ask(hub: string, path: string, form: Record<string, string>, client?: Client) {
    const basic = client && Buffer.from(`${client.client_id}:${client.client_secret}`).toString('base64')
    const answer = await fetch(`${hub}/oauth/${path}`, {
      method: 'POST',
      headers: basic ? { authorization: `Basic ${basic}` } : {},
      body: new URLSearchParams(form),
    })
    const text = await answer.text()
    const body = (text ? JSON.parse(text) : {}) as Record<string, unknown>
    return { status: answer.status, headers: answer.headers, body } satisfies TokenAnswer
  }

  async function tokenOf(hub: string, client: Client): Promise<string> {
    const { status, body } = await ask(hub, 'token', GRANT, client)
    assert.equal(status, 200, JSON.stringify(body))
    return String(body.access_token)
  }

  const list = (hub: string, token: string) =>
    fetch(`${hub}/ssf/streams`, { headers: { authorization: `Bearer ${token}` } })

  it('gives tokens at one that are good at the other at once', async () => {
    const client = await addClient()
    for (const [giver, user] of [
      [one, other],
      [other, one],
    ] as const) {
      const token = await tokenOf(giver, client)
      assert.equal((await list(user, token)).status, 200)
      const { body } = await ask(user, 'introspect', { token }, client)
      assert.deepEqual([body.active, body.scope], [true, GRANT.scope])
    }
  })

  it('ends a token at the other as soon as it is revoked at one (RFC 7009 §2)', async () => {
    const client = await addClient()
    const token = await tokenOf(one, client)
    const kept = await tokenOf(one, client)
    // It has seen the token: what is remembered there must not keep it alive.
    assert.equal((await list(other, token)).status, 200)
    assert.equal((await ask(one, 'revoke', { token }, client)).status, 200)
    const answer = await list(other, token)
    assertRefusal(
      { status: answer.status, headers: answer.headers, text: await answer.text() },
      {
        title: 'a revoked token',
        method: 'GET',
        path: '/ssf/streams',
        status: 401,
        code: 'ERR_INVALID_TOKEN',
        challenge: INVALID_TOKEN,
      },
    )
    assert.deepEqual((await ask(other, 'introspect', { token }, client)).body, { active: false })
    assert.equal((await list(other, kept)).status, 200)
  })

  it('takes a signed assertion at one of them, once (RFC 7523 §3)', async () => {
    const { publicKey, privateKey } = await generateKeyPair('ES256')
    const { client_id } = await addClient({
      token_endpoint_auth_method: 'private_key_jwt',
      jwks: { keys: [{ ...(await exportJWK(publicKey)), kid: 'k1' }] },
    })
    const assertion = (jti: string) =>
      new SignJWT({ jti })
        .setProtectedHeader({ alg: 'ES256', kid: 'k1' })
        .setIssuer(client_id)
        .setSubject(client_id)
        .setAudience(hubs.url)
        .setExpirationTime('1 minute')
        .sign(privateKey)
    const form = async (jti: string) => ({
      ...GRANT,
      client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
      client_assertion: await assertion(jti),
    })
    const used = await form('used-once')
    assert.equal((await ask(one, 'token', used)).status, 200)
    for (const hub of [other, one]) {
      const replayed = await ask(hub, 'token', used)
      assert.deepEqual([replayed.status, replayed.body.error], [401, 'invalid_client'])
      assert.equal(replayed.headers.get('cache-control'), 'no-store')
      assert.equal(replayed.body.access_token, undefined)
    }
    assert.equal((await ask(other, 'token', await form('another'))).status, 200)
  })
})
