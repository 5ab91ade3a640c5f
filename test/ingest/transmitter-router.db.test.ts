import assert from 'node:assert/strict'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Forbidden } from '../../src/auth/bearer.js'
import { createApp } from '../../src/http/app.js'
import { createHttpServer, type HttpServer } from '../../src/http/server.js'
import { eventRouter } from '../../src/ingest/event-router.js'
import { createEventService } from '../../src/ingest/event-service.js'
import { createIngestHandler } from '../../src/ingest/ingest-handler.js'
import { createIssuerKeys } from '../../src/ingest/issuer-keys.js'
import { createSetIngest } from '../../src/ingest/set-ingest.js'
import { createSourceBudgets } from '../../src/ingest/source-budget.js'
import { createTransmitterRegistry, type TransmitterRegistry } from '../../src/ingest/transmitter-registry.js'
import { createTransmitterRepository } from '../../src/ingest/transmitter-repository.js'
import { transmitterRouter } from '../../src/ingest/transmitter-router.js'
import { createTransmitterService } from '../../src/ingest/transmitter-service.js'
import { createClock } from '../../src/kernel/clock.js'
import { createEventIds } from '../../src/kernel/ids.js'
import { silentLogger } from '../../src/kernel/logger.js'
import { createMetrics } from '../../src/kernel/metrics.js'
import { createOutgoing, type Outgoing } from '../../src/outgoing/outgoing.js'
import { HUB_SOURCE_ID } from '../../src/secevent/event.js'
import { CAEP, SSF } from '../../src/secevent/event-types.js'
import type { Database } from '../../src/storage/database.js'
import { createTestDatabase, type TestDatabase } from '../support/postgres.js'
import { AUDIENCE, ISSUER, listLog, publicJwk, rsa, setOf } from './ingest-fixture.js'

const JWKS = { keys: [publicJwk(rsa.publicKey, { kid: 'k1', use: 'sig', alg: 'RS256' })] }
type Body = Record<string, unknown>

describe('ingest: transmitters and events over HTTP and Postgres', () => {
  let test: TestDatabase
  let server: HttpServer
  let idp: Server
  let idpUrl: string
  let outgoing: Outgoing
  let registry: TransmitterRegistry
  let permitted: string[] | undefined
  const log = listLog()
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
    outgoing = createOutgoing({ allowedNetworks: ['127.0.0.1/32'] })
    server = assemble(test.db)
    await server.start()
    await registry.start()
  })
  after(async () => {
    await registry.stop()
    await server.stop()
    await outgoing.close()
    idp.closeAllConnections()
    idp.close()
    await test.close()
  })
  beforeEach(() => {
    permitted = undefined
    log.events.length = 0
    log.failWith = undefined
  })

  /** As hub.ts does, with a caller who may do what the test says. */
  function assemble(db: Database): HttpServer {
    const clock = createClock()
    const metrics = createMetrics()
    const repository = createTransmitterRepository()
    registry = createTransmitterRegistry({
      loadAll: () => repository.loadAll(db),
      findOne: (id) => repository.find(db, id),
      clock,
      logger: silentLogger,
    })
    const audit = {
      async record(
        trx: Database,
        entry: { actor: string; action: string; target?: string; detail?: object },
      ) {
        await trx('audit_log').insert({
          id: crypto.randomUUID(),
          ...entry,
          detail: JSON.stringify(entry.detail ?? {}),
        })
      },
    }
    const authorize = {
      operator:
        (permission: string) => (_req: unknown, res: { locals: object }, next: (error?: unknown) => void) => {
          Object.assign(res.locals, { operator: { id: 'o', name: 'ann', role: 'operator' } })
          next(permitted && !permitted.includes(permission) ? new Forbidden('Not yours.') : undefined)
        },
    }
    const nextEventId = createEventIds(clock)
    const keys = createIssuerKeys({ outgoing, clock, logger: silentLogger, metrics })
    const ingest = createSetIngest({ clock, keys, budgets: createSourceBudgets(clock), log, nextEventId })
    const transmitters = createTransmitterService({ db, outgoing, audit, changed: () => registry.refresh() })
    const events = createEventService({ db, audit, log, nextEventId, issuer: 'https://hub.example' })
    const app = createApp({
      logger: silentLogger,
      mount(app) {
        app.use(
          '/v1/transmitters',
          transmitterRouter({ transmitters, authorize, issuer: 'https://hub.example/' }),
        )
        app.use('/v1/events', eventRouter({ events, authorize }))
      },
    })
    const first = createIngestHandler({ registry, ingest, clock, logger: silentLogger, metrics })
    return createHttpServer({ host: '127.0.0.1', port: 0, app, first, logger: silentLogger, drainMs: 100 })
  }

  async function call(method: string, path: string, body?: unknown): Promise<{ status: number; body: Body }> {
    const answer = await fetch(`http://127.0.0.1:${server.port()}${path}`, {
      method,
      headers: { 'content-type': 'application/json' },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    })
    const text = await answer.text()
    return { status: answer.status, body: text ? (JSON.parse(text) as Body) : {} }
  }
  const base = (more: Body = {}): Body => {
    names += 1
    return { name: `idp-${names}`, issuer: ISSUER, audience: AUDIENCE, jwks: JWKS, ...more }
  }
  const create = (more: Body = {}) => call('POST', '/v1/transmitters', base(more))
  const push = (id: unknown, set: string, headers: Record<string, string> = {}) =>
    fetch(`http://127.0.0.1:${server.port()}/ingest/${id}`, { method: 'POST', headers, body: set })
  const auditOf = (target: unknown) =>
    test.db('audit_log').where({ target }).orderBy('at').select('actor', 'action', 'detail') as Promise<
      { actor: string; action: string; detail: Body }[]
    >

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
    assert.equal(log.events[0]?.sourceId, id)
    assert.deepEqual(await call('GET', `/v1/transmitters/${id}`), { status: 200, body: made.body })
    const [row] = await auditOf(id)
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

  const BAD: [title: string, change: Body, says: RegExp][] = [
    ['an unknown member', { colour: 'red' }, /colour is not known here/],
    ['no name', { name: undefined }, /name is required/],
    ['an empty name', { name: '' }, /name/],
    ['no audience', { audience: undefined }, /audience is required/],
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
    ['a line end in the header', { authorization_header: 'Bearer a\r\nX: b' }, /authorization_header/],
    ['a budget of nothing', { budget_per_s: 0 }, /budget_per_s/],
    ['an unknown tolerance', { tolerances: { allow_everything: true } }, /allow_everything/],
    ['a skew of a day', { tolerances: { future_skew_s: 86_400 } }, /future_skew_s/],
    ['delivery by poll', { delivery: { method: 'poll' } }, /delivery.method/],
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
    const actions = (await auditOf(id)).map(({ action }) => action)
    assert.deepEqual(actions, ['transmitter.created', 'transmitter.updated'])
    for (const bad of [{}, { issuer: 'https://x.example' }, { enabled: 'no' }]) {
      assert.equal((await call('PATCH', `/v1/transmitters/${id}`, bad)).status, 400)
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

  it('asks for a permission at every route', async () => {
    const { id } = (await create()).body
    permitted = ['read']
    assert.equal((await call('GET', `/v1/transmitters/${id}`)).status, 200)
    for (const [method, path] of [
      ['POST', ''],
      ['PATCH', `/${id}`],
      ['DELETE', `/${id}`],
    ] as const) {
      assert.equal((await call(method, `/v1/transmitters${path}`, base())).status, 403, method)
    }
    assert.equal((await call('POST', '/v1/events', {})).status, 403)
  })

  const event = (more: Body = {}): Body => ({
    type: CAEP.sessionRevoked,
    sub_id: { format: 'email', email: 'ada@example.com' },
    event: { reason_admin: { en: 'drill' } },
    ...more,
  })

  it('takes an event that an operator states, in the name of the hub', async () => {
    const answer = await call('POST', '/v1/events', event({ event_timestamp: 1_700_000_000, txn: 'case-7' }))
    assert.equal(answer.status, 202, JSON.stringify(answer.body))
    const [stored] = log.events
    assert.deepEqual(answer.body, { txn: 'case-7', event_id: stored?.eventId })
    assert.equal(stored?.sourceId, HUB_SOURCE_ID)
    assert.equal(stored?.sourceIssuer, 'https://hub.example')
    assert.equal(stored?.lane, 'urgent')
    assert.equal(stored?.claims.event_timestamp, 1_700_000_000)
    const [row] = await auditOf(stored?.eventId)
    assert.equal(row?.action, 'event.emitted')
    assert.equal(row?.detail.txn, 'case-7')
    assert.doesNotMatch(JSON.stringify(row), /ada@/)
  })

  it('makes a txn when none is given', async () => {
    const answer = await call('POST', '/v1/events', event())
    assert.match(String(answer.body.txn), /^[0-9a-f-]{36}$/)
  })

  const BAD_EVENTS: [title: string, change: Body][] = [
    ['an unknown type', { type: 'https://idp.example/event' }],
    ['a framework type', { type: SSF.verification }],
    ['no subject', { sub_id: undefined }],
    ['an odd subject', { sub_id: { format: 'email' } }],
    ['no event', { event: undefined }],
    ['an event member that the type does not have', { event: { colour: 'red' } }],
    ['milliseconds', { event_timestamp: 1_700_000_000_000 }],
    ['two different timestamps', { event: { event_timestamp: 1 }, event_timestamp: 2 }],
    ['an unknown member', { lane: 'control' }],
    ['a txn with a space', { txn: 'a b' }],
  ]
  for (const [title, change] of BAD_EVENTS) {
    it(`refuses to emit ${title}`, async () => {
      const answer = await call('POST', '/v1/events', event(change))
      assert.equal(answer.status, 400)
      assert.match(String(answer.body.code), /^ERR_INVALID_(REQUEST|SUBJECT)$/)
      assert.equal(log.events.length, 0)
    })
  }

  it('leaves no audit row of an event that the log did not take', async () => {
    const { LogUnavailable } = await import('../../src/eventlog/event-log.js')
    log.failWith = new LogUnavailable('The log is away.')
    const answer = await call('POST', '/v1/events', event({ txn: 'lost-1' }))
    assert.equal(answer.status, 503)
    const rows = await test.db('audit_log').whereRaw("detail->>'txn' = 'lost-1'")
    assert.equal(rows.length, 0)
  })
})
