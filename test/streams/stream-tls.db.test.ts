import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { createServer, type Server } from 'node:https'
import type { AddressInfo } from 'node:net'
import type { TLSSocket } from 'node:tls'
import type { Express } from 'express'
import request from 'supertest'
import type { Operator } from '../../src/auth/callers.js'
import { createStreamTargets } from '../../src/delivery/stream-target-repository.js'
import { createApp } from '../../src/http/app.js'
import { createClock } from '../../src/kernel/clock.js'
import { newId } from '../../src/kernel/ids.js'
import { silentLogger } from '../../src/kernel/logger.js'
import { createKeyService } from '../../src/keys/key-service.js'
import { streamTlsRouter } from '../../src/streams/stream-tls-router.js'
import { createStreamTlsService } from '../../src/streams/stream-tls-service.js'
import { type DeliveryHarness, startDelivery } from '../delivery/delivery-harness.js'
import { createAuthority, type Pair, type TestAuthority } from '../support/certificates.js'
import { waitUntil } from '../support/wait.js'

const UNKNOWN_ID = '00000000-0000-4000-8000-000000000000'

describe('TLS of one stream', function () {
  this.timeout(60_000)
  let authority: TestAuthority
  let hubPair: Pair
  let nextPair: Pair
  let endpoint: Server
  let endpointUrl: string
  /** The common name that each SET came with. */
  let cameWith: (string | undefined)[] = []
  let hub: DeliveryHarness
  let app: Express
  let receiverId: string
  let streamId: string

  before(async () => {
    authority = await createAuthority('Company')
    hubPair = await authority.issue({ name: 'hub', usage: 'clientAuth' })
    nextPair = await authority.issue({ name: 'next hub', usage: 'clientAuth', days: 10 })
    const { cert, key } = await authority.issue({ name: 'localhost' })
    endpoint = createServer(
      { cert, key, ca: authority.cert, requestCert: true, rejectUnauthorized: true },
      (req, res) => {
        const { subject } = (req.socket as TLSSocket).getPeerCertificate()
        cameWith.push(subject?.CN as string | undefined)
        res.writeHead(202).end()
      },
    )
    endpoint.on('tlsClientError', () => {})
    await new Promise<void>((resolve) => endpoint.listen(0, '127.0.0.1', resolve))
    endpointUrl = `https://localhost:${(endpoint.address() as AddressInfo).port}/events`
    hub = await startDelivery()
    receiverId = await hub.addReceiver()
    app = openApp()
  })
  after(async () => {
    await hub.close()
    endpoint.closeAllConnections()
    endpoint.close()
    await authority.remove()
  })
  beforeEach(async () => {
    cameWith = []
    streamId = await hub.addStream({ receiverId, endpointUrl })
  })
  afterEach(async () => {
    for (const table of ['streams', 'delivery_queue', 'audit_log']) await hub.db(table).delete()
    await hub.delivery.streamChanged(streamId)
  })

  function openApp(): Express {
    const { db, keys, delivery } = hub
    const operators = new Map<string, Operator>(
      (['viewer', 'operator'] as const).map((role) => [role, { id: newId(), name: role, role }]),
    )
    const audit = {
      async record(
        trx: typeof db,
        entry: { actor: string; action: string; target?: string; detail?: object },
      ) {
        await trx('audit_log').insert({ id: newId(), ...entry, detail: JSON.stringify(entry.detail ?? {}) })
      },
    }
    const tls = createStreamTlsService({ db, keys, observer: delivery, audit, clock: createClock() })
    return createApp({
      logger: silentLogger,
      mount(root) {
        root.use(
          '/v1/streams',
          streamTlsRouter({ operators: { authenticate: async (token) => operators.get(token) }, tls }),
        )
      },
    })
  }

  const call = (method: 'get' | 'put' | 'delete', body?: object, { id = streamId, as = 'operator' } = {}) => {
    const asked = request(app)[method](`/v1/streams/${id}/tls`).set('Authorization', `Bearer ${as}`)
    return body === undefined ? asked : asked.send(body)
  }
  const whole = ({ cert, key }: Pair) => ({ ca: authority.cert, certificate: cert, private_key: key })
  const outcomes = () =>
    hub.rows<{ outcome: string }>('select outcome from deliveries where stream_id = ?', [streamId])
  const tried = async () => (await hub.rows('select 1 from delivery_queue where attempts > 0')).length > 0

  it('lets SETs reach an endpoint of a private authority that demands a certificate', async () => {
    await hub.fanOut([hub.event()])
    await waitUntil('a failed attempt', tried)
    assert.deepEqual(cameWith, [])
    const set = await call('put', whole(hubPair))
    assert.equal(set.status, 200, set.text)
    await waitUntil('the SET', async () => (await outcomes()).length === 1, { deadlineMs: 30_000 })
    assert.deepEqual(cameWith, ['hub'])
  })

  it('uses no connection any more that was made with another certificate, or without one', async () => {
    await call('put', whole(hubPair))
    await hub.fanOut([hub.event()])
    await waitUntil('the first SET', async () => (await outcomes()).length === 1)
    await call('put', whole(nextPair))
    await hub.fanOut([hub.event()])
    await waitUntil('the second SET', async () => (await outcomes()).length === 2)
    assert.deepEqual(cameWith, ['hub', 'next hub'])
    assert.equal((await call('delete')).status, 204)
    await hub.fanOut([hub.event()])
    await waitUntil('a failed attempt', tried)
    assert.equal(cameWith.length, 2)
  })

  it('is not used at another origin that the receiver chose since, and says so', async () => {
    await call('put', whole(hubPair))
    const targets = createStreamTargets(hub.db, (sealed, context) => hub.keys.open(sealed, context))
    const before = await targets.find(streamId)
    assert.deepEqual(before?.tls, { ca: authority.cert, certificate: hubPair.cert, key: hubPair.key })
    const moved = endpointUrl.replace('localhost', '127.0.0.1')
    await hub.rows('update streams set endpoint_url = ?, version = version + 1', [moved])
    await hub.delivery.streamChanged(streamId)
    assert.equal((await call('get')).body.in_use, false)
    assert.equal((await targets.find(streamId))?.tls, undefined)
    await hub.fanOut([hub.event()])
    await waitUntil('a failed attempt', tried)
    assert.deepEqual(cameWith, [])
    await hub.rows('update streams set delivery_method = ?, endpoint_url = null', ['poll'])
    assert.equal((await call('get')).body.in_use, false)
  })

  it('shows who is believed and what is shown, and never the key', async () => {
    const set = await call('put', whole(hubPair))
    const got = await call('get', undefined, { as: 'viewer' })
    assert.deepEqual(got.body, set.body)
    const { ca, client_certificate: client, updated_at: at, ...rest } = got.body
    assert.deepEqual(rest, { stream_id: streamId, origin: new URL(endpointUrl).origin, in_use: true })
    assert.match(at, /Z$/)
    assert.deepEqual([ca.length, ca[0].subject, ca[0].issuer], [1, 'CN=Company', 'CN=Company'])
    assert.deepEqual([client.subject, client.issuer], ['CN=hub', 'CN=Company'])
    assert.match(client.fingerprint_sha256, /^([0-9A-F]{2}:){31}[0-9A-F]{2}$/)
    const days = (Date.parse(client.not_after) - Date.now()) / 86_400_000
    assert.ok(days > 29 && days < 31, String(days))
    assert.doesNotMatch(set.text + got.text, /PRIVATE/)
  })

  it('takes authorities alone, and a certificate alone, in place of what there was', async () => {
    await call('put', whole(hubPair))
    const alone = await call('put', { ca: authority.cert })
    assert.deepEqual([alone.body.ca.length, alone.body.client_certificate], [1, null])
    const client = await call('put', { certificate: hubPair.cert, private_key: hubPair.key })
    assert.deepEqual([client.body.ca, client.body.client_certificate.subject], [[], 'CN=hub'])
  })

  it('seals the key at rest for its stream', async () => {
    await call('put', whole(hubPair))
    const [row] = await hub.rows<{ key_wrapped: Buffer; text: string }>(
      'select key_wrapped, stream_tls::text as text from stream_tls',
    )
    assert.ok(row)
    assert.doesNotMatch(row.text, /PRIVATE/)
    const opened = hub.keys.open(row.key_wrapped, `stream:${streamId}:tls-key`).toString()
    assert.match(opened, /BEGIN PRIVATE KEY/)
    assert.throws(() => hub.keys.open(row.key_wrapped, `stream:${UNKNOWN_ID}:tls-key`))
  })

  it('keeps its key through another ring key, a first and another master key', async () => {
    const open = (masters: { masterKey?: Buffer; previousMasterKey?: Buffer } = {}) =>
      createKeyService({
        db: hub.db,
        clock: createClock(),
        leadMs: 3_600_000,
        logger: silentLogger,
        ...masters,
      })
    const keyBy = async (keys: typeof hub.keys) => {
      const targets = createStreamTargets(hub.db, (sealed, context) => keys.open(sealed, context))
      return (await targets.find(streamId))?.tls?.key
    }
    await call('put', whole(hubPair))
    await hub.keys.ring.addKey(hub.db, 0)
    const [first, second] = [randomBytes(32), randomBytes(32)]
    for (const masters of [
      {},
      { masterKey: first },
      { masterKey: second, previousMasterKey: first },
      { masterKey: second },
    ]) {
      assert.equal(await keyBy(await open(masters)), hubPair.key)
    }
    assert.equal(await keyBy(hub.keys), hubPair.key)
  })

  it('writes who set and cleared it, with fingerprints and no key', async () => {
    const { body } = await call('put', whole(hubPair))
    await call('delete')
    const rows = await hub
      .db('audit_log')
      .select('actor', 'action', 'target', 'detail')
      .orderBy('action', 'desc')
    const target = `stream:${streamId}`
    assert.deepEqual(rows, [
      {
        actor: 'operator:operator',
        action: 'stream.tls_set',
        target,
        detail: {
          origin: new URL(endpointUrl).origin,
          ca: [body.ca[0].fingerprint_sha256],
          client_certificate: body.client_certificate.fingerprint_sha256,
        },
      },
      { actor: 'operator:operator', action: 'stream.tls_cleared', target, detail: {} },
    ])
  })

  it('goes with its stream', async () => {
    await call('put', whole(hubPair))
    await hub.db('streams').where({ stream_id: streamId }).delete()
    assert.deepEqual(await hub.rows('select 1 from stream_tls'), [])
  })

  it('is refused for a polled stream and for plain http, with what to do', async () => {
    const polled = await hub.addStream({ receiverId })
    const plain = await hub.addStream({ receiverId, endpointUrl: 'http://127.0.0.1:1/' })
    for (const [id, says] of [
      [polled, /is polled.*push streams/],
      [plain, /plain http.*https/],
    ] as const) {
      const answer = await call('put', whole(hubPair), { id })
      assert.deepEqual([answer.status, answer.body.code], [409, 'ERR_CONFLICT'])
      assert.match(answer.body.message, says)
      assert.equal((await call('get', undefined, { id })).body.code, 'ERR_STREAM_TLS_NOT_FOUND')
    }
  })

  it('is told from a stream that is not there', async () => {
    for (const method of ['get', 'delete'] as const) {
      assert.equal((await call(method)).body.code, 'ERR_STREAM_TLS_NOT_FOUND')
      for (const id of [UNKNOWN_ID, 'x']) {
        const answer = await call(method, undefined, { id })
        assert.equal(answer.status, 404)
        assert.notEqual(answer.body.code, 'ERR_STREAM_TLS_NOT_FOUND')
      }
    }
    assert.equal((await call('put', whole(hubPair), { id: UNKNOWN_ID })).status, 404)
  })

  it('is the operators’ to change', async () => {
    assert.equal((await call('put', whole(hubPair), { as: 'viewer' })).status, 403)
    assert.equal((await call('delete', undefined, { as: 'viewer' })).status, 403)
    for (const method of ['get', 'put', 'delete'] as const) {
      assert.equal((await call(method, method === 'put' ? {} : undefined, { as: 'nobody' })).status, 401)
    }
  })

  it('refuses what cannot be used, and changes nothing', async () => {
    const bad: [object, number, RegExp][] = [
      [{}, 400, /at least 1 member/],
      [{ ca: 7 }, 400, /ca/],
      [{ ca: 'nonsense' }, 400, /ca: write PEM/],
      [{ ca: authority.cert, colour: 'red' }, 400, /colour/],
      [{ certificate: hubPair.cert }, 400, /belong together/],
      [{ certificate: hubPair.cert, private_key: nextPair.key }, 400, /not the key/],
      [{ ca: 'x'.repeat(70_000) }, 400, /ca/],
      [{ ca: 'x'.repeat(300_000) }, 413, /./],
    ]
    for (const [body, status, says] of bad) {
      const answer = await call('put', body)
      assert.equal(answer.status, status, answer.text)
      assert.match(answer.body.message, says)
      assert.doesNotMatch(answer.text, /PRIVATE KEY-----\\n/)
    }
    assert.deepEqual(await hub.rows('select 1 from stream_tls'), [])
    assert.deepEqual(await hub.rows('select 1 from audit_log'), [])
  })
})
