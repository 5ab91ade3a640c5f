import assert from 'node:assert/strict'
import { generateKeyPairSync, randomUUID } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { loadConfig } from '../../src/config/config.js'
import { type Hub, startHub } from '../../src/hub.js'
import { silentLogger } from '../../src/kernel/logger.js'
import { CAEP } from '../../src/secevent/event-types.js'
import { seedStream } from '../enforcement/seed.js'
import { selfSigned } from '../outgoing/certificate.js'
import { apiOperations } from '../support/api-operations.js'
import { createTestDatabase, type TestDatabase } from '../support/postgres.js'

const ADMIN_TOKEN = 'fbk_op_error-answers-only-0123456789abcdef'
const NOBODY = '00000000-0000-4000-8000-000000000000'
const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const JWKS = { keys: [{ ...publicKey.export({ format: 'jwk' }), kid: 'k' }] }
const PRIVATE_ADDRESS = 'https://10.1.2.3/jwks'
const TRANSMITTER = { issuer: 'https://idp.example', audience: 'hub' }

/** What depends on what is there: `error-answers.test.ts` has the rest. */
const CODES = [
  'ERR_NOT_FOUND',
  'ERR_STREAM_NOT_FOUND',
  'ERR_STREAM_TLS_NOT_FOUND',
  'ERR_CONFLICT',
  'ERR_ADDRESS_REFUSED',
  'ERR_INVALID_SUBJECT',
]
const operations = apiOperations().filter(({ path }) => path.startsWith('/v1/'))

/** A body that is right, so that nothing but the id is wrong. */
const GOOD_BODY: Readonly<Record<string, object>> = {
  updateTransmitter: { enabled: true },
  updateReceiver: { reports: [] },
  issueReceiverToken: { scopes: ['ssf.read'] },
  discardParked: { reason: 'a drill' },
  updateOperator: { role: 'viewer' },
  updateEventType: { effect: 'neutral' },
  putStreamTls: { ca: selfSigned('gw.example').cert },
}

describe('error answers of /v1 that depend on what is there', () => {
  let test: TestDatabase
  let hub: Hub
  /** Answers everything with a page that is no metadata. */
  const stranger = createServer((_req, res) => void res.end('<html>'))
  const seen = new Set<string>()

  before(async () => {
    test = await createTestDatabase()
    await new Promise<void>((resolve) => stranger.listen(0, '127.0.0.1', resolve))
    const fail = (error: Error) => assert.fail(error)
    hub = await startHub({
      config: loadConfig({
        PORT: '0',
        MANAGEMENT_PORT: '0',
        DATABASE_URL: test.url,
        ROLES: 'api,ingest',
        FIREBREAK_ADMIN_TOKEN: ADMIN_TOKEN,
        FIREBREAK_ALLOWED_NETWORKS: '127.0.0.0/8',
      }),
      logger: silentLogger,
      onProgress: () => {},
      onAdminToken: () => {},
      onFatal: fail,
    })
  })
  after(async () => {
    stranger.close()
    await hub?.stop()
    await test.close()
  })

  async function ask(id: string, ids: readonly string[], body?: object) {
    const operation = operations.find((each) => each.id === id) ?? assert.fail(id)
    const values = [...ids]
    const path = operation.path.replace(/\{\w+\}/g, () => values.shift() ?? NOBODY)
    const answer = await fetch(hub.url + path, {
      method: operation.method.toUpperCase(),
      headers: { authorization: `Bearer ${ADMIN_TOKEN}`, 'content-type': 'application/json' },
      ...(body && { body: JSON.stringify(body) }),
    })
    const text = await answer.text()
    return { answer, body: (text ? JSON.parse(text) : {}) as Record<string, string> }
  }

  async function refused(expected: string, id: string, ids: readonly string[], body?: object): Promise<void> {
    const { answer, body: told } = await ask(id, ids, body)
    assert.equal(`${answer.status} ${told.code}`, expected, `${id}: ${JSON.stringify(told)}`)
    assert.deepEqual(Object.keys(told), ['code', 'message'])
    assert.ok(told.message && !told.message.includes('\n'))
    assert.equal(answer.headers.get('cache-control'), 'no-store')
    assert.equal(answer.headers.get('content-type'), 'application/json; charset=utf-8')
    assert.match(answer.headers.get('x-request-id') ?? '', /^[0-9a-f-]{36}$/)
    assert.equal(answer.headers.get('www-authenticate'), null)
    seen.add(`${id} ${expected}`)
  }

  async function made(id: string, body: object, ids: readonly string[] = []): Promise<string> {
    const answer = await ask(id, ids, body)
    assert.ok(answer.answer.ok, JSON.stringify(answer.body))
    return String(answer.body.id)
  }

  it('are 404 for ids that nothing has, and for text that is no id', async () => {
    for (const { id, path } of operations) {
      if (!path.includes('{') || path.startsWith('/docs')) continue
      await refused('404 ERR_NOT_FOUND', id, ['x', 'x'], GOOD_BODY[id])
      const code = path.startsWith('/v1/streams') ? 'ERR_STREAM_NOT_FOUND' : 'ERR_NOT_FOUND'
      await refused(`404 ${code}`, id, [], GOOD_BODY[id])
    }
  })

  it("are 404 for another receiver's token", async () => {
    const [mine, other] = [
      await made('createReceiver', { name: 'mine' }),
      await made('createReceiver', { name: 'o' }),
    ]
    const token = await made('issueReceiverToken', { scopes: ['ssf.read'] }, [other])
    await refused('404 ERR_NOT_FOUND', 'revokeReceiverToken', [mine, token])
    assert.equal((await ask('revokeReceiverToken', [other, token])).answer.status, 204)
  })

  it('are 409 for names that are taken', async () => {
    for (const [kind, body] of [
      ['Transmitter', { ...TRANSMITTER, jwks_uri: 'https://127.0.0.1/jwks' }],
      ['Receiver', {}],
      ['Operator', { role: 'viewer' }],
    ] as const) {
      const id = await made(`create${kind}`, { ...body, name: 'one' })
      await made(`create${kind}`, { ...body, name: 'two' })
      await refused('409 ERR_CONFLICT', `create${kind}`, [], { ...body, name: 'one' })
      await refused('409 ERR_CONFLICT', `update${kind}`, [id], { name: 'two' })
      // It pushes by itself: the hub holds no stream there.
      if (kind === 'Transmitter') await refused('409 ERR_CONFLICT', 'verifyTransmitter', [id])
    }
  })

  it('are 409 for event types that are there', async () => {
    const own = { type: 'https://example.com/events/one', effect: 'neutral' }
    await made('createEventType', own)
    await refused('409 ERR_CONFLICT', 'createEventType', [], own)
    await refused('409 ERR_CONFLICT', 'createEventType', [], { ...own, type: CAEP.sessionRevoked })
  })

  it('are 409 for receivers and operators whose state forbids it', async () => {
    const signing = await made('createReceiver', {
      name: 'signing',
      token_endpoint_auth_method: 'private_key_jwt',
      jwks: JWKS,
    })
    await refused('409 ERR_CONFLICT', 'rotateReceiver', [signing])
    await ask('disableReceiver', [signing])
    await refused('409 ERR_CONFLICT', 'issueReceiverToken', [signing], { scopes: ['ssf.read'] })
    const { body } = await ask('listOperators', [])
    const admin =
      (body.items as unknown as { id: string; role: string }[]).find(({ role }) => role === 'admin')?.id ?? ''
    await refused('409 ERR_CONFLICT', 'revokeOperator', [admin])
    await refused('409 ERR_CONFLICT', 'updateOperator', [admin], { role: 'viewer' })
    const gone = await made('createOperator', { name: 'gone', role: 'viewer' })
    await ask('revokeOperator', [gone])
    await refused('409 ERR_CONFLICT', 'rotateOperator', [gone])
  })

  it('are 409 for parked items that are settled, or were never fit to send', async () => {
    const id = randomUUID()
    await test.db('parked').insert({ id, kind: 'record', code: 'ERR_RECORD_REJECTED', reason: 'not ours' })
    await refused('409 ERR_CONFLICT', 'replayParked', [id])
    assert.equal((await ask('discardParked', [id], { reason: 'a drill' })).answer.status, 200)
    for (const what of ['replayParked', 'discardParked']) {
      await refused('409 ERR_CONFLICT', what, [id], { reason: 'again' })
    }
  })

  it('are 404 and 409 for the TLS of a stream that is polled', async () => {
    const polled = await seedStream(test.db, await made('createReceiver', { name: 'poller' }))
    for (const id of ['getStreamTls', 'deleteStreamTls']) {
      await refused('404 ERR_STREAM_TLS_NOT_FOUND', id, [polled])
    }
    await refused('409 ERR_CONFLICT', 'putStreamTls', [polled], GOOD_BODY.putStreamTls)
  })

  it('are 409 for a test of alerts that have no way out', async () => {
    await refused('409 ERR_CONFLICT', 'testAlerts', [])
  })

  it('are 409 for keys that wait already, or sign now', async () => {
    const { body } = await ask('listKeys', [])
    const keys = body.items as unknown as { kid: string; use: string; state: string }[]
    const active = keys.find(({ use, state }) => use === 'log' && state === 'active')?.kid ?? assert.fail()
    await refused('409 ERR_CONFLICT', 'retireKey', [active])
    assert.equal((await ask('rotateKeys', [], { use: 'log' })).answer.status, 201)
    await refused('409 ERR_CONFLICT', 'rotateKeys', [], { use: 'log' })
  })

  it('are 400 for keys that cannot be had', async () => {
    const rubbish = `http://127.0.0.1:${(stranger.address() as AddressInfo).port}/metadata`
    const cases: [string, object][] = [
      ['400 ERR_ADDRESS_REFUSED', { jwks_uri: PRIVATE_ADDRESS }],
      ['400 ERR_ADDRESS_REFUSED', { discover: PRIVATE_ADDRESS }],
      ['400 ERR_INVALID_REQUEST', { jwks: { keys: [{ kty: 'oct', k: 'AA' }] } }],
      ['400 ERR_INVALID_REQUEST', { discover: rubbish }],
      ['400 ERR_INVALID_REQUEST', { jwks_uri: 'https://127.0.0.1/a', discover: true }],
    ]
    const id = await made('createTransmitter', { ...TRANSMITTER, name: 'k', jwks_uri: 'https://127.0.0.1/k' })
    for (const [expected, origin] of cases) {
      await refused(expected, 'createTransmitter', [], { ...TRANSMITTER, name: 'new', ...origin })
      await refused(expected, 'updateTransmitter', [id], origin)
    }
  })

  it('are 400 for a subject that is none', async () => {
    const event = { type: CAEP.sessionRevoked, event: {} }
    for (const subject of [{}, { format: 'email' }, { format: 7 }]) {
      await refused('400 ERR_INVALID_SUBJECT', 'emitEvent', [], { ...event, sub_id: subject })
      await refused('400 ERR_INVALID_SUBJECT', 'eraseSubject', [], { subject, reason: 'a drill' })
    }
  })

  it('are all that the document tells of, each seen above', () => {
    const told = operations.flatMap(({ id, errors }) =>
      errors
        .filter((error) => CODES.some((code) => error.endsWith(` ${code}`)))
        .map((error) => `${id} ${error}`),
    )
    assert.ok(told.length > 30)
    assert.deepEqual(
      told.filter((error) => !seen.has(error)),
      [],
    )
  })
})
