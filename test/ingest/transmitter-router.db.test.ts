import assert from 'node:assert/strict'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { TOLERANCE_SWITCHES } from '../../src/secevent/tolerances.js'
import { openPool } from '../../src/storage/database.js'
import { createTestDatabase, type TestDatabase } from '../support/postgres.js'
import { startTcpProxy } from '../support/tcp-proxy.js'
import { AUDIENCE, ISSUER, publicJwk, rsa, setOf } from './ingest-fixture.js'
import { type Body, type IngestRig, startIngestRig } from './ingest-rig.js'

const JWKS = { keys: [publicJwk(rsa.publicKey, { kid: 'k1', use: 'sig', alg: 'RS256' })] }

describe('ingest: transmitters over HTTP and Postgres', () => {
  let test: TestDatabase
  let rig: IngestRig
  let idp: Server
  let idpUrl: string
  const documents = new Map<string, unknown>()
  let names = 0

  before(async () => {
    test = await createTestDatabase()
    idp = createServer((req, res) => {
      const document = documents.get(req.url ?? '')
      res.writeHead(document === undefined ? 404 : 200).end(JSON.stringify(document))
    })
    await new Promise<void>((resolve) => idp.listen(0, '127.0.0.1', resolve))
    idpUrl = `http://127.0.0.1:${(idp.address() as AddressInfo).port}`
    rig = await startIngestRig(test.db)
  })
  after(async () => {
    await rig.stop()
    idp.closeAllConnections()
    idp.close()
    await test.close()
  })
  beforeEach(() => {
    rig.permit(undefined)
    rig.log.events.length = 0
  })

  const call: IngestRig['call'] = (...args) => rig.call(...args)
  const push: IngestRig['push'] = (...args) => rig.push(...args)
  const base = (more: Body = {}): Body => {
    names += 1
    return { name: `idp-${names}`, issuer: ISSUER, audience: AUDIENCE, jwks: JWKS, ...more }
  }
  const create = (more: Body = {}) => call('POST', '/v1/transmitters', base(more))

  it('registers a transmitter, gives its ingest URL, and takes its SETs at once', async () => {
    const made = await create()
    assert.equal(made.status, 201)
    const { id } = made.body
    assert.equal(made.body.ingest_url, `https://hub.example/ingest/${id}`)
    assert.deepEqual(made.body.audience, [AUDIENCE])
    assert.deepEqual(made.body.algorithms, ['RS256'])
    assert.equal(made.body.version, 1)
    assert.match(String(made.body.created_at), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
    assert.equal((await push(id, setOf())).status, 202)
    assert.equal(rig.log.events[0]?.sourceId, id)
    assert.deepEqual(await call('GET', `/v1/transmitters/${id}`), { status: 200, body: made.body })
    const [row] = await rig.auditOf(id)
    assert.equal(row?.actor, 'operator:ann')
    assert.equal(row?.action, 'transmitter.created')
  })

  it('keeps the authorization header as a hash only and shows it to nobody', async () => {
    const made = await create({ authorization_header: 'Bearer very-secret' })
    assert.equal(made.body.has_authorization_header, true)
    assert.doesNotMatch(JSON.stringify(made.body), /very-secret/)
    const dump = JSON.stringify([await test.db('transmitters').select(), await test.db('audit_log').select()])
    assert.doesNotMatch(dump, /very-secret/)
    assert.equal((await push(made.body.id, setOf())).status, 401)
    assert.equal((await push(made.body.id, setOf(), { authorization: 'Bearer very-secret' })).status, 202)
    const open = await call('PATCH', `/v1/transmitters/${made.body.id}`, { authorization_header: null })
    assert.equal(open.body.has_authorization_header, false)
    assert.equal((await push(made.body.id, setOf())).status, 202)
  })

  it('discovers the keys of an SSF transmitter and verifies with them', async () => {
    const issuer = `${idpUrl}/tenant/a`
    documents.set('/.well-known/ssf-configuration/tenant/a', { issuer, jwks_uri: `${idpUrl}/keys` })
    documents.set('/keys', JWKS)
    const { jwks: _none, ...rest } = base({ issuer, discover: true })
    const made = await call('POST', '/v1/transmitters', rest)
    assert.equal(made.status, 201, JSON.stringify(made.body))
    assert.equal(made.body.jwks_uri, `${idpUrl}/keys`)
    assert.equal(made.body.discover, `${idpUrl}/.well-known/ssf-configuration/tenant/a`)
    assert.equal((await push(made.body.id, setOf({ iss: issuer }))).status, 202)
  })

  it('discards metadata of another issuer, without keys, or that is not there', async () => {
    const bad: Record<string, unknown> = {
      other: { issuer: 'https://else.example', jwks_uri: `${idpUrl}/keys` },
      nokeys: { issuer: `${idpUrl}/nokeys` },
      private: { issuer: `${idpUrl}/private`, jwks_uri: 'https://10.0.0.1/keys' },
      list: [1],
    }
    for (const [name, document] of Object.entries({ ...bad, missing: undefined })) {
      documents.set(`/.well-known/ssf-configuration/${name}`, document)
      const { jwks: _none, ...rest } = base({ issuer: `${idpUrl}/${name}`, discover: true })
      const answer = await call('POST', '/v1/transmitters', rest)
      assert.equal(answer.status, 400, name)
      assert.match(String(answer.body.code), name === 'private' ? /ADDRESS_REFUSED/ : /INVALID_REQUEST/)
    }
  })

  it('refuses key addresses that the hub must not reach, all with one text', async () => {
    const texts = new Set<string>()
    for (const uri of [
      'https://10.0.0.1/k',
      'https://169.254.169.254/k',
      'http://8.8.8.8/k',
      'ftp://x.example/k',
      'https://u:p@x.example/',
      'nonsense',
    ]) {
      const { jwks: _none, ...rest } = base({ jwks_uri: uri })
      const answer = await call('POST', '/v1/transmitters', rest)
      assert.equal(answer.status, 400, uri)
      texts.add(JSON.stringify(answer.body))
    }
    assert.equal(texts.size, 1)
    assert.match([...texts][0] ?? '', /ERR_ADDRESS_REFUSED/)
  })

  const stream = (credentials: Body, more: Body = {}): Body => ({
    delivery: { method: 'poll', credentials, ...more },
  })
  const BAD: [title: string, change: Body, says: RegExp][] = [
    ['an unknown member', { colour: 'red' }, /colour is not known here/],
    ['no name', { name: undefined }, /name is required/],
    ['an empty name', { name: '' }, /name/],
    ['no audience', { audience: undefined }, /audience is required/],
    ['no issuer', { issuer: undefined }, /issuer is required/],
    ['an empty audience', { audience: [] }, /audience/],
    ['an audience that is a number', { audience: 7 }, /audience/],
    ['an unknown algorithm', { algorithms: ['HS256'] }, /algorithms/],
    ['alg none', { algorithms: ['none'] }, /algorithms/],
    ['no algorithm', { algorithms: [] }, /algorithms/],
    ['no keys at all', { jwks: undefined }, /exactly one/],
    ['two origins of keys', { jwks_uri: 'https://idp.example/keys' }, /exactly one/],
    ['a private key', { jwks: { keys: [publicJwk(rsa.privateKey, { kid: 'k1' })] } }, /private/],
    ['a jwks without keys', { jwks: {} }, /keys is required/],
    ['a jwks of nothing usable', { jwks: { keys: [{ kty: 'oct' }] } }, /no usable/],
    [
      'a jwks of RSA keys without n and e',
      { jwks: { keys: [{ kty: 'RSA', kid: 'k1', use: 'sig', alg: 'RS256' }] } },
      /no usable public key\. RSA needs n/,
    ],
    ['a line end in the header', { authorization_header: 'Bearer a\r\nX: b' }, /authorization_header/],
    ['a budget of nothing', { budget_per_s: 0 }, /budget_per_s/],
    ['an unknown tolerance', { tolerances: { allow_everything: true } }, /allow_everything/],
    ['a tolerance that is no yes or no', { tolerances: { session_id_all: 'ALL' } }, /session_id_all/],
    ['a skew of a day', { tolerances: { future_skew_s: 86_400 } }, /future_skew_s/],
    ['delivery by fax', { delivery: { method: 'fax' } }, /delivery.method/],
    ['delivery without a method', { delivery: {} }, /delivery.method is required/],
    ['an unknown member of delivery', { delivery: { method: 'push', url: 'x' } }, /delivery.url/],
    [
      'event types without credentials',
      { delivery: { method: 'push', events_requested: ['a'] } },
      /credentials/,
    ],
    ['a stream at a transmitter that is not discovered', stream({ token: 't' }), /give discover/],
    ['credentials of nothing', stream({}), /needs a token, or client_id/],
    ['a client without secret', stream({ client_id: 'c' }), /needs a token, or client_id/],
    ['a token and a client', stream({ token: 't', client_id: 'c', client_secret: 's' }), /not both/],
    ['a token and a token endpoint', stream({ token: 't', token_endpoint: 'https://a.example' }), /not both/],
    [
      'two places of tokens',
      stream({ client_id: 'c', client_secret: 's', token_endpoint: 'x', authorization_server: 'y' }),
      /not both/,
    ],
    ['a token with a space', stream({ token: 'a b' }), /credentials.token/],
    ['a secret with a line end', stream({ client_id: 'c', client_secret: 'a\r\nb' }), /client_secret/],
    ['another way to authenticate', stream({ token_endpoint_auth_method: 'none' }), /auth_method/],
    ['no event type at all', stream({ token: 't' }, { events_requested: [] }), /events_requested/],
    ['an event type twice', stream({ token: 't' }, { events_requested: ['a', 'a'] }), /events_requested/],
    [
      'delivery by poll without credentials',
      { delivery: { method: 'poll' } },
      /delivery.credentials is required/,
    ],
    ['U+0000 in the name', { name: 'a\u0000b' }, /U\+0000/],
  ]
  for (const [title, change, says] of BAD) {
    it(`refuses ${title} and says which member it is`, async () => {
      const answer = await create(change)
      assert.equal(answer.status, 400)
      assert.match(String(answer.body.message), says)
    })
  }

  it('refuses what is not a JSON object', async () => {
    for (const body of [[], 'x', 7, null])
      assert.equal((await call('POST', '/v1/transmitters', body)).status, 400)
    assert.equal((await call('POST', '/v1/transmitters')).status, 400)
  })

  it('refuses a name that is taken, at creation and at change', async () => {
    const one = await create()
    const two = await create()
    assert.equal((await create({ name: one.body.name })).status, 409)
    const renamed = await call('PATCH', `/v1/transmitters/${two.body.id}`, { name: one.body.name })
    assert.equal(renamed.status, 409)
    assert.equal(renamed.body.code, 'ERR_CONFLICT')
  })

  it('changes what is sent, raises the version, writes an audit row, and counts at once', async () => {
    const { id } = (await create()).body
    const change = {
      audience: ['https://new.example'],
      algorithms: ['ES256', 'RS256'],
      tolerances: { allow_sub: true },
      budget_per_s: 7,
    }
    const changed = await call('PATCH', `/v1/transmitters/${id}`, change)
    assert.equal(changed.status, 200)
    assert.equal(changed.body.version, 2)
    assert.deepEqual(changed.body.tolerances, { allow_sub: true })
    assert.equal(changed.body.budget_per_s, 7)
    assert.equal((await push(id, setOf())).status, 400)
    assert.equal((await push(id, setOf({ aud: 'https://new.example', sub: 'ada' }))).status, 202)
    const actions = (await rig.auditOf(id)).map(({ action }) => action)
    assert.deepEqual(actions, ['transmitter.created', 'transmitter.updated'])
    for (const bad of [{}, { issuer: 'https://x.example' }, { enabled: 'no' }]) {
      assert.equal((await call('PATCH', `/v1/transmitters/${id}`, bad)).status, 400)
    }
  })

  it('turns each tolerance on and off by its name', async () => {
    const { id } = (await create()).body
    for (const name of Object.keys(TOLERANCE_SWITCHES)) {
      for (const value of [true, false]) {
        const { body } = await call('PATCH', `/v1/transmitters/${id}`, { tolerances: { [name]: value } })
        assert.deepEqual(body.tolerances, { [name]: value })
      }
    }
    const all = { session_id_all: true }
    const session = { format: 'opaque', id: 'ALL' }
    const user = { format: 'opaque', id: 'u-1' }
    const sub_id = { format: 'complex', user, session }
    for (const [tolerances, subject] of [
      [{}, sub_id],
      [all, { format: 'complex', user }],
    ]) {
      await call('PATCH', `/v1/transmitters/${id}`, { tolerances })
      assert.equal((await push(id, setOf({ sub_id }))).status, 202)
      assert.deepEqual(rig.log.events.at(-1)?.subject, subject)
    }
  })

  it('replaces the origin of keys as one', async () => {
    const { id } = (await create()).body
    documents.set('/other-keys', { keys: [] })
    const changed = await call('PATCH', `/v1/transmitters/${id}`, { jwks_uri: `${idpUrl}/other-keys` })
    assert.equal(changed.body.jwks, undefined)
    assert.equal(changed.body.jwks_uri, `${idpUrl}/other-keys`)
    assert.equal((await push(id, setOf())).status, 400)
  })

  it('refuses to make a stream where the metadata, the types or the addresses do not allow it', async () => {
    const issuer = `${idpUrl}/poor`
    const found = { issuer, jwks_uri: `${idpUrl}/keys`, configuration_endpoint: `${idpUrl}/streams` }
    const ssf = 'https://schemas.openid.net/secevent/ssf/event-type/verification'
    const push = ['urn:ietf:rfc:8935']
    const inside = { client_id: 'c', client_secret: 's', token_endpoint: 'https://10.0.0.1/t' }
    const refused: [document: Body, delivery: Body, says: RegExp][] = [
      [{ ...found, configuration_endpoint: undefined }, {}, /configuration_endpoint/],
      [{ ...found, delivery_methods_supported: push }, {}, /does not deliver by poll/],
      [found, { events_requested: [ssf] }, /events that the hub knows/],
      [{ ...found, configuration_endpoint: 'https://10.0.0.1/streams' }, {}, /ERR_ADDRESS_REFUSED/],
      [{ ...found, verification_endpoint: 'http://8.8.8.8/verify' }, {}, /ERR_ADDRESS_REFUSED/],
      [found, { credentials: inside }, /ERR_ADDRESS_REFUSED/],
    ]
    for (const [document, change, says] of refused) {
      documents.set('/.well-known/ssf-configuration/poor', document)
      const delivery = { method: 'poll', credentials: { token: 't' }, ...change }
      const answer = await call('POST', '/v1/transmitters', { name: 'poor', discover: issuer, delivery })
      assert.equal(answer.status, 400, String(says))
      assert.match(JSON.stringify(answer.body), says)
    }
    assert.deepEqual(await test.db('upstream_streams').select(), [])
  })

  it('shows the stream that it is to hold, and never its credentials', async () => {
    const issuer = `${idpUrl}/rich`
    const document = { issuer, jwks_uri: `${idpUrl}/keys`, configuration_endpoint: `${idpUrl}/streams` }
    documents.set('/.well-known/ssf-configuration/rich', document)
    const credentials = { client_id: 'c', client_secret: 'canary', scope: 'ssf.read' }
    const delivery = { method: 'urn:ietf:rfc:8935', credentials }
    const { status, body } = await call('POST', '/v1/transmitters', {
      name: 'rich',
      discover: issuer,
      delivery,
    })
    assert.equal(status, 201, JSON.stringify(body))
    assert.equal(body.has_authorization_header, true)
    const shown = body.delivery as Body
    assert.equal(shown.method, 'push')
    assert.deepEqual(shown.credentials, { type: 'client', client_id: 'c', scope: 'ssf.read' })
    assert.equal((body.stream as Body).state, 'setup')
    assert.equal((await push(body.id, setOf({ iss: issuer }))).status, 401, 'a push without its header')
    assert.ok(!JSON.stringify(await call('GET', '/v1/transmitters?limit=100')).includes('canary'))
    rig.permit(['read'])
    assert.equal((await call('POST', `/v1/transmitters/${body.id}/verify`)).status, 403)
    rig.permit(undefined)
    assert.equal((await call('POST', `/v1/transmitters/${body.id}/verify`)).status, 202)
    const actions = (await rig.auditOf(body.id)).map(({ action }) => action)
    assert.deepEqual(actions, ['transmitter.created', 'transmitter.verification_requested'])
    assert.equal((await call('POST', `/v1/transmitters/${(await create()).body.id}/verify`)).status, 409)
    assert.equal((await call('POST', `/v1/transmitters/${crypto.randomUUID()}/verify`)).status, 404)
  })

  it('asks a transmitter to come back while the audience of its stream is not known (R-40)', async () => {
    const { id } = (await create()).body
    await test.db('transmitters').where({ id }).update({ audience: [] })
    await rig.registry.refresh()
    const answer = await push(id, setOf())
    assert.equal(answer.status, 503)
    assert.equal(answer.headers.get('retry-after'), '1')
  })

  it('refuses SETs of one that is disabled or deleted, from the next on', async () => {
    const { id } = (await create()).body
    await call('PATCH', `/v1/transmitters/${id}`, { enabled: false })
    assert.equal((await push(id, setOf())).status, 404)
    await call('PATCH', `/v1/transmitters/${id}`, { enabled: true })
    assert.equal((await push(id, setOf())).status, 202)
    assert.equal((await call('DELETE', `/v1/transmitters/${id}`)).status, 204)
    assert.equal((await push(id, setOf())).status, 404)
    for (const method of ['GET', 'DELETE'])
      assert.equal((await call(method, `/v1/transmitters/${id}`)).status, 404)
    assert.equal((await call('PATCH', `/v1/transmitters/${id}`, { enabled: true })).status, 404)
    assert.equal((await call('GET', '/v1/transmitters/nonsense')).status, 404)
  })

  it('knows a transmitter that another process registered a moment ago', async () => {
    const { body } = await create()
    const id = crypto.randomUUID()
    await test.db.raw(
      `insert into transmitters (id, name, issuer, jwks, audience, algorithms)
       select ?, 'elsewhere', issuer, jwks, audience, algorithms from transmitters where id = ?`,
      [id, body.id as string],
    )
    assert.equal((await push(id, setOf())).status, 202)
  })

  it('lists in pages', async () => {
    await create()
    await create()
    const seen: unknown[] = []
    let path = '/v1/transmitters?limit=3'
    for (;;) {
      const { status, body } = await call('GET', path)
      assert.equal(status, 200)
      seen.push(...(body.items as Body[]).map(({ id }) => id))
      if (body.next === null) break
      path = `/v1/transmitters?limit=3&cursor=${body.next}`
    }
    const rows = await test.db('transmitters').select('id')
    assert.equal(new Set(seen).size, rows.length)
    assert.equal(seen.length, rows.length)
  })

  it('takes SETs of known transmitters while Postgres is away, says later to others, and heals', async () => {
    const { id } = (await create()).body
    const real = new URL(test.url)
    const proxy = await startTcpProxy({ targetPort: () => Number(real.port) })
    const through = new URL(test.url)
    through.port = String(proxy.port)
    const pool = openPool(through.href, { name: 'cut off', max: 2 })
    const cutOff = await startIngestRig(pool)
    try {
      assert.equal((await cutOff.push(id, setOf())).status, 202)
      proxy.refuse(true)
      proxy.cut()
      await cutOff.registry.refresh()
      assert.equal((await cutOff.push(id, setOf())).status, 202)
      assert.equal(cutOff.log.events.length, 2)
      const unknown = await cutOff.push(crypto.randomUUID(), setOf())
      assert.equal(unknown.status, 503)
      assert.equal(unknown.headers.get('retry-after'), '2')
      proxy.refuse(false)
      assert.equal((await cutOff.push(crypto.randomUUID(), setOf())).status, 404)
    } finally {
      await cutOff.stop()
      await pool.destroy()
      await proxy.close()
    }
  })
})
