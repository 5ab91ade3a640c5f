import assert from 'node:assert/strict'
import type { Express } from 'express'
import request from 'supertest'
import { createAuditLog } from '../../src/audit/audit-log.js'
import { auditRouter } from '../../src/audit/audit-router.js'
import { createAuditSealer } from '../../src/audit/audit-sealer.js'
import { createApp } from '../../src/http/app.js'
import { encodeCursor } from '../../src/http/page.js'
import { Unavailable } from '../../src/kernel/errors.js'
import { silentLogger } from '../../src/kernel/logger.js'
import { createTestDatabase, type TestDatabase } from '../support/postgres.js'

describe('audit routes', () => {
  let database: TestDatabase
  let app: Express
  before(async () => {
    database = await createTestDatabase()
    const audit = createAuditLog()
    for (let index = 0; index < 5; index += 1) {
      const actor = index % 2 === 0 ? 'operator:ann' : 'operator:bob'
      await audit.record(database.db, {
        actor,
        action: 'receiver.create',
        target: `r${index}`,
        detail: { index },
      })
    }
    app = createApp({
      logger: silentLogger,
      mount: (shell) =>
        void shell.use(
          '/v1/audit',
          auditRouter({ db: database.db, authorize: (_req, _res, next) => next() }),
        ),
    })
  })
  after(() => database.close())

  it('lists newest first, in pages that neither skip nor repeat', async () => {
    const seen: string[] = []
    let cursor: string | null = null
    do {
      const page = await request(app)
        .get('/v1/audit')
        .query({ limit: 2, ...(cursor ? { cursor } : {}) })
      assert.equal(page.status, 200)
      seen.push(...page.body.items.map((item: { target: string }) => item.target))
      cursor = page.body.next as string | null
    } while (cursor)
    assert.deepEqual(seen, ['r4', 'r3', 'r2', 'r1', 'r0'])
  })

  it('reads a page by its index, however long the log', async () => {
    const trx = await database.db.transaction()
    try {
      await trx.raw(
        `insert into audit_log (id, at, actor, action) select gen_random_uuid(), now() - n * interval '1 s', 'a', 'b'
         from generate_series(1, 20000) n`,
      )
      await trx.raw('analyze audit_log')
      const plan = await trx.raw<{ rows: object[] }>(
        `explain select * from audit_log where (at, id) < (now() - interval '3 h', '${'0'.repeat(8)}-0000-0000-0000-000000000000'::uuid)
         order by at desc, id desc limit 50`,
      )
      const text = JSON.stringify(plan.rows)
      assert.match(text, /Index Scan.*audit_log_listed/)
      assert.match(text, /Index Cond/)
      assert.doesNotMatch(text, /Sort/)
    } finally {
      await trx.rollback()
    }
  })

  it('asks for its place before each query', async () => {
    const busy = new Unavailable('busy')
    const shell = createApp({
      logger: silentLogger,
      mount: (root) =>
        void root.use(
          '/v1/audit',
          auditRouter({
            db: database.db,
            authorize: (_req, _res, next) => next(),
            run: () => Promise.reject(busy),
          }),
        ),
    })
    for (const path of ['/v1/audit', '/v1/audit/verification']) {
      const res = await request(shell).get(path)
      assert.equal(res.status, 503)
      assert.equal(res.headers['retry-after'], '2')
    }
  })

  it('filters by actor, action, target and time', async () => {
    const byActor = await request(app).get('/v1/audit').query({ actor: 'operator:bob' })
    assert.deepEqual(
      byActor.body.items.map((item: { target: string }) => item.target),
      ['r3', 'r1'],
    )
    const none = await request(app).get('/v1/audit').query({ to: '2001-01-01T00:00:00Z' })
    assert.deepEqual(none.body, { items: [], next: null })
  })

  for (const query of [
    'limit=0',
    'from=yesterday',
    'colour=red',
    'cursor=nonsense',
    `cursor=${encodeCursor(['x', 'y'])}`,
    'actor=',
  ]) {
    it(`refuses ?${query} with a clear 400`, async () => {
      const answer = await request(app).get(`/v1/audit?${query}`)
      assert.equal(answer.status, 400)
      assert.match(answer.body.code, /^ERR_/)
    })
  }

  it('says that the sealed chain is whole, and where it is broken', async () => {
    const lease = { get: () => ({ unit: 0, epoch: 1, endsAtMonotonicMs: Number.POSITIVE_INFINITY }) }
    const sealer = createAuditSealer({ db: database.db, lease, logger: silentLogger })
    await sealer.sealOnce()
    const whole = await request(app).get('/v1/audit/verification')
    assert.equal(whole.body.ok, true)
    assert.equal(whole.body.rows, 5)
    await database.db('audit_log').where({ target: 'r2' }).update({ actor: 'operator:nobody' })
    const broken = await request(app).get('/v1/audit/verification')
    assert.deepEqual([broken.body.ok, broken.body.seq, broken.body.reason], [false, 3, 'changed'])
  })
})
