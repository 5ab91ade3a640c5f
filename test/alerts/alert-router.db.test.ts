import assert from 'node:assert/strict'
import type { Express } from 'express'
import request from 'supertest'
import type { AlertKind } from '../../src/alerts/alert.js'
import { createAlertLog } from '../../src/alerts/alert-log.js'
import { alertRepository, type Channel } from '../../src/alerts/alert-repository.js'
import { alertRouter } from '../../src/alerts/alert-router.js'
import { createAlertService } from '../../src/alerts/alert-service.js'
import type { Tell } from '../../src/alerts/tell.js'
import { createAuditLog } from '../../src/audit/audit-log.js'
import { Forbidden } from '../../src/auth/bearer.js'
import { isAllowed, type Permission, type Role } from '../../src/auth/roles.js'
import { createApp } from '../../src/http/app.js'
import { silentLogger } from '../../src/kernel/logger.js'
import { createTestDatabase, type TestDatabase } from '../support/postgres.js'
import { clock, conditionOf, outgoing, webhookTo } from './alert-rig.js'
import { startWebhookEndpoint, type WebhookEndpoint } from './webhook-endpoint.js'

describe('/v1/alerts', () => {
  let test: TestDatabase
  let endpoint: WebhookEndpoint
  let role: Role
  const door = outgoing()
  let written = ''

  before(async () => {
    test = await createTestDatabase()
    endpoint = await startWebhookEndpoint()
  })
  beforeEach(() => {
    role = 'operator'
    written = ''
    endpoint.posts.length = 0
  })
  after(async () => {
    await door.close()
    await endpoint.shut()
    await test.close()
  })

  function appWith(ways: Partial<Record<Channel, Tell>>): Express {
    const authorize =
      (permission: Permission) =>
      (_req: unknown, res: { locals: Record<string, unknown> }, next: (error?: unknown) => void) => {
        res.locals.operator = { id: 'o', name: 'ann', role }
        next(isAllowed(role, permission) ? undefined : new Forbidden('Not yours.'))
      }
    const alerts = createAlertService({ db: test.db, audit: createAuditLog(), clock, ways })
    return createApp({
      logger: silentLogger,
      mount: (shell) => void shell.use('/v1/alerts', alertRouter({ alerts, authorize })),
    })
  }

  const toFile = createAlertLog('-', {
    write(text, done) {
      written += text
      done()
    },
  })
  const open = (kind: AlertKind, object: string) =>
    test.db.transaction((trx) => alertRepository.open(trx, [conditionOf(kind, object, { count: 1 })]))

  it('lists what is open, newest first and in pages, and by state and kind', async () => {
    for (let number = 0; number < 3; number += 1) await open('sets_parked', `stream:${number}`)
    await test.db.transaction((trx) => alertRepository.resolveUnseen(trx, { forMs: -1, except: [] }))
    for (let number = 3; number < 6; number += 1) await open('sets_parked', `stream:${number}`)
    await open('clock_skew', 'clock:node-1')
    // Several are opened in one millisecond, the unit of the order.
    for (const [at, object] of [
      ...Array.from({ length: 6 }, (_, n) => `stream:${n}`),
      'clock:node-1',
    ].entries()) {
      await test
        .db('alerts')
        .where({ object })
        .update({ opened_at: new Date(Date.now() - 60_000 + at * 1_000) })
    }
    const app = appWith({})
    const list = async (query: string) => (await request(app).get(`/v1/alerts${query}`).expect(200)).body
    const objects = (body: { items: { object: string }[] }) => body.items.map(({ object }) => object)
    assert.deepEqual(objects(await list('')), ['clock:node-1', 'stream:5', 'stream:4', 'stream:3'])
    const ended = await list('?state=resolved')
    assert.deepEqual(objects(ended), ['stream:2', 'stream:1', 'stream:0'])
    for (const item of ended.items) assert.equal(item.state, 'resolved')
    assert.deepEqual(objects(await list('?state=all&kind=clock_skew')), ['clock:node-1'])
    const seen: string[] = []
    for (let cursor: string | null = ''; cursor !== null; ) {
      const page = await list(`?state=all&limit=3${cursor && `&cursor=${cursor}`}`)
      seen.push(...objects(page))
      cursor = page.next
    }
    assert.deepEqual(seen, [
      'clock:node-1',
      'stream:5',
      'stream:4',
      'stream:3',
      'stream:2',
      'stream:1',
      'stream:0',
    ])
    const [item] = (await list('?limit=1')).items
    assert.deepEqual(
      { ...item, id: 0, opened_at: 0, last_seen_at: 0 },
      {
        id: 0,
        kind: 'clock_skew',
        object: 'clock:node-1',
        severity: 'warning',
        state: 'open',
        summary: 'clock_skew at clock:node-1',
        detail: { count: 1 },
        opened_at: 0,
        last_seen_at: 0,
        resolved_at: null,
        reopened: 0,
      },
    )
  })

  it('refuses queries that name no state or kind', async () => {
    for (const query of ['state=odd', 'kind=odd', 'kind=', 'limit=0', 'cursor=x', 'colour=red']) {
      const { body, status } = await request(appWith({})).get(`/v1/alerts?${query}`)
      assert.deepEqual([status, body.code], [400, 'ERR_INVALID_REQUEST'], query)
    }
  })

  it('drops what ended as long ago as events are kept, and nothing that is open', async () => {
    await test.db.raw(
      "update alerts set opened_at = now() - interval '90 days', resolved_at = resolved_at - interval '31 days'",
    )
    const alertId = '00000000-0000-4000-8000-000000000000'
    const notice = { channel: 'log' as const, alertId, body: '{}' }
    await test.db.transaction((trx) => alertRepository.addNotices(trx, [{ ...notice, noticeId: 'old' }]))
    await test.db.raw("update alert_notices set created_at = now() - interval '31 days'")
    await test.db.transaction((trx) => alertRepository.addNotices(trx, [{ ...notice, noticeId: 'new' }]))
    await alertRepository.forget(test.db, 30)
    const left = await test.db('alerts').select<{ resolved_at: Date | null }[]>('resolved_at')
    assert.equal(left.length, 4)
    assert.ok(left.every(({ resolved_at }) => resolved_at === null))
    assert.deepEqual(await test.db('alert_notices').select('notice_id'), [{ notice_id: 'new' }])
  })

  it('sends a test by both ways, says what the webhook answered, and who asked', async () => {
    const app = appWith({ webhook: webhookTo(endpoint.url, door), log: toFile })
    const { body } = await request(app).post('/v1/alerts/test').expect(200)
    const [post] = endpoint.posts
    assert.equal(post?.type, 'alert.test')
    assert.equal(post?.id, body.notice_id)
    assert.deepEqual(body.webhook, { delivered: true, status: 204, failure: null })
    assert.deepEqual(body.log, { delivered: true, status: null, failure: null })
    assert.equal(JSON.parse(written).id, body.notice_id)
    const [row] = await test.db('audit_log').where({ action: 'alerts.test' }).select('actor', 'detail')
    assert.deepEqual(row, { actor: 'operator:ann', detail: { notice_id: body.notice_id } })
  })

  it('says how a test failed, by each way apart', async () => {
    endpoint.answerWith(() => 401)
    const refused = await request(appWith({ webhook: webhookTo(endpoint.url, door) })).post('/v1/alerts/test')
    assert.deepEqual(refused.body.webhook, { delivered: false, status: 401, failure: 'answered 401' })
    assert.equal(refused.body.log, null)
    const nowhere = await request(
      appWith({
        webhook: webhookTo('https://10.1.2.3/', door),
        log: createAlertLog('/nonexistent/x', { write() {} }),
      }),
    ).post('/v1/alerts/test')
    assert.deepEqual(nowhere.body.webhook, { delivered: false, status: null, failure: 'refused_address' })
    assert.match(nowhere.body.log.failure, /ENOENT/)
  })

  it('refuses a test without a way out, and to somebody who may only read', async () => {
    assert.equal((await request(appWith({})).post('/v1/alerts/test')).status, 409)
    role = 'viewer'
    assert.equal((await request(appWith({ log: toFile })).post('/v1/alerts/test')).status, 403)
    assert.equal(written, '')
    assert.equal((await request(appWith({})).get('/v1/alerts')).status, 200)
  })
})
