import assert from 'node:assert/strict'
import request from 'supertest'
import { ensureFirstAdmin, resetAdmin } from '../../src/auth/first-admin.js'
import { ROLES } from '../../src/auth/roles.js'
import { hashSecret } from '../../src/auth/secrets.js'
import { silentLogger } from '../../src/kernel/logger.js'
import { manualClock } from '../ingest/ingest-fixture.js'
import { type AuthApp, createAuthApp, plainAudit } from './auth-app.js'

const NOBODY = '11111111-1111-4111-8111-111111111111'

describe('auth: operators', () => {
  const clock = manualClock()
  let hub: AuthApp
  before(async () => {
    hub = await createAuthApp({ clock })
  })
  after(() => hub.close())

  const as = (token: string) => ({
    get: (path: string) => request(hub.app).get(path).auth(token, { type: 'bearer' }),
    post: (path: string) => request(hub.app).post(path).auth(token, { type: 'bearer' }),
    patch: (path: string) => request(hub.app).patch(path).auth(token, { type: 'bearer' }),
    delete: (path: string) => request(hub.app).delete(path).auth(token, { type: 'bearer' }),
  })
  const admin = () => as(hub.adminToken)
  const add = async (name: string, role: string) =>
    (await admin().post('/v1/operators').send({ name, role })).body as { id: string; token: string }

  it('creates an operator whose token is shown once and stored only as a hash', async () => {
    const res = await admin().post('/v1/operators').send({ name: 'ana', role: 'viewer' })
    assert.equal(res.status, 201)
    assert.match(res.body.token, /^fbk_op_/)
    assert.equal((await as(res.body.token).get('/as-operator')).body.name, 'ana')
    const read = await admin().get(`/v1/operators/${res.body.id}`)
    assert.equal(read.body.token, undefined)
    const row = await hub.db('operators').where({ id: res.body.id }).first()
    assert.ok(row.token_hash.equals(hashSecret(res.body.token)))
    assert.ok(!JSON.stringify(row).includes(res.body.token))
  })

  it('lets only admins manage operators, and only those allowed manage receivers', async () => {
    const allowed: Record<string, number> = {
      viewer: 403,
      operator: 201,
      responder: 201,
      approver: 201,
      admin: 201,
    }
    for (const role of ROLES) {
      const { token } = await add(`role-${role}`, role)
      const manage = await as(token)
        .post('/v1/operators')
        .send({ name: `by-${role}`, role: 'viewer' })
      assert.equal(manage.status, role === 'admin' ? 201 : 403, role)
      assert.equal((await as(token).get('/v1/operators')).status, role === 'admin' ? 200 : 403, role)
      const receiver = await as(token)
        .post('/v1/receivers')
        .send({ name: `of-${role}` })
      assert.equal(receiver.status, allowed[role], role)
      assert.equal((await as(token).get('/v1/receivers')).status, 200)
    }
    const { token } = await add('told', 'viewer')
    const refused = await as(token).post('/v1/operators').send({})
    assert.match(refused.body.message, /admin.*viewer/)
    assert.equal(refused.body.code, 'ERR_FORBIDDEN')
  })

  it('ends a token at once when it is revoked, rotated or expired', async () => {
    const one = await add('gone', 'viewer')
    assert.equal((await admin().delete(`/v1/operators/${one.id}`)).status, 204)
    assert.equal((await as(one.token).get('/as-operator')).status, 401)
    assert.equal((await admin().delete(`/v1/operators/${one.id}`)).status, 204)
    const two = await add('turned', 'viewer')
    const rotated = await admin().post(`/v1/operators/${two.id}/rotate`)
    assert.equal((await as(two.token).get('/as-operator')).status, 401)
    assert.equal((await as(rotated.body.token).get('/as-operator')).status, 200)
    await hub
      .db('operators')
      .where({ id: two.id })
      .update({ expires_at: new Date(Date.now() - 60_000) })
    assert.equal((await as(rotated.body.token).get('/as-operator')).status, 401)
    assert.equal((await admin().post(`/v1/operators/${one.id}/rotate`)).status, 409)
  })

  it('holds a change of role from the next request on', async () => {
    const { id, token } = await add('risen', 'viewer')
    assert.equal((await as(token).get('/v1/operators')).status, 403)
    const changed = await admin().patch(`/v1/operators/${id}`).send({ role: 'admin', name: 'raised' })
    assert.deepEqual([changed.body.role, changed.body.name], ['admin', 'raised'])
    assert.equal((await as(token).get('/v1/operators')).status, 200)
    await admin().patch(`/v1/operators/${id}`).send({ role: 'viewer' })
    assert.equal((await as(token).get('/v1/operators')).status, 403)
  })

  it('refuses bad bodies and says everything that is wrong with them', async () => {
    const both = await admin().post('/v1/operators').send({ role: 'king', colour: 'red' })
    assert.equal(both.status, 400)
    assert.match(both.body.message, /name is required/)
    assert.match(both.body.message, /role must be one of viewer, operator, responder, approver, admin/)
    assert.match(both.body.message, /colour is not known here/)
    for (const body of [
      {},
      [],
      { name: '', role: 'viewer' },
      { name: 'x'.repeat(101), role: 'viewer' },
      { name: 'no role' },
      { name: 'king', role: 'king' },
      { name: 'a\u0000b', role: 'viewer' },
      { name: 'a\ud800b', role: 'viewer' },
      { name: 5, role: 'viewer' },
      { name: 'late', role: 'viewer', expires_at: '2001-01-01T00:00:00Z' },
      { name: 'odd', role: 'viewer', expires_at: 'tomorrow' },
    ]) {
      assert.equal((await admin().post('/v1/operators').send(body)).status, 400, JSON.stringify(body))
    }
    const { id } = await add('patched', 'viewer')
    for (const body of [{}, { role: 'king' }, { token: 'mine' }, { id: NOBODY }]) {
      assert.equal((await admin().patch(`/v1/operators/${id}`).send(body)).status, 400, JSON.stringify(body))
    }
    assert.equal((await admin().post('/v1/operators').send({ name: 'patched', role: 'viewer' })).status, 409)
    assert.equal((await admin().patch(`/v1/operators/${id}`).send({ name: 'admin' })).status, 409)
  })

  it('takes a name of 100 characters, and an end that is a millisecond away but none that is now', async () => {
    const add = (name: string, ms: number) =>
      admin()
        .post('/v1/operators')
        .send({ name, role: 'viewer', expires_at: new Date(clock.now() + ms).toISOString() })
    const refused = await add('ends now', 0)
    assert.equal(refused.status, 400)
    assert.equal(refused.body.message, 'expires_at must be in the future.')
    const taken = await add('x'.repeat(100), 1)
    assert.equal(taken.status, 201)
    assert.equal(taken.body.expires_at, new Date(clock.now() + 1).toISOString())
    const patch = (ms: number | null) =>
      admin()
        .patch(`/v1/operators/${taken.body.id}`)
        .send({ expires_at: ms === null ? null : new Date(clock.now() + ms).toISOString() })
    assert.equal((await patch(0)).status, 400)
    assert.equal((await patch(1)).status, 200)
    assert.equal((await patch(null)).body.expires_at, null)
  })

  it('takes bodies of 16 KiB, and none a byte longer', async () => {
    const { id } = await add('measured', 'viewer')
    const receiver = await admin().post('/v1/receivers').send({ name: 'measured' })
    const calls = [
      () => admin().post('/v1/operators'),
      () => admin().patch(`/v1/operators/${id}`),
      () => admin().post(`/v1/receivers/${receiver.body.id}/tokens`),
    ]
    for (const call of calls) {
      const statusOf = async (bytes: number) =>
        (await call().type('json').send('{"odd":1}'.padEnd(bytes, ' '))).status
      assert.deepEqual([await statusOf(16_384), await statusOf(16_385)], [400, 413])
    }
  })

  it('shows when an operator was revoked, and changes nothing when it is revoked again', async () => {
    const { id } = await add('twice', 'viewer')
    const revokedAt = new Date(clock.now()).toISOString()
    await admin().delete(`/v1/operators/${id}`)
    clock.advance(1_000)
    await admin().delete(`/v1/operators/${id}`)
    assert.equal((await admin().get(`/v1/operators/${id}`)).body.revoked_at, revokedAt)
  })

  it('answers 404 for an unknown or impossible id on every route', async () => {
    for (const id of [NOBODY, 'x', '%00', "1' or '1'='1"]) {
      const path = `/v1/operators/${id}`
      assert.equal((await admin().get(path)).status, 404, id)
      assert.equal((await admin().patch(path).send({ role: 'viewer' })).status, 404, id)
      assert.equal((await admin().delete(path)).status, 404, id)
      assert.equal((await admin().post(`${path}/rotate`)).status, 404, id)
    }
  })

  it('lists all operators in pages, each once', async () => {
    for (const number of [3, 1, 5, 2, 4]) await add(`page ${number}`, 'viewer')
    const seen: string[] = []
    let next: string | null = ''
    while (next !== null) {
      const res: request.Response = await admin()
        .get('/v1/operators')
        .query({ limit: 2, ...(next && { cursor: next }) })
      seen.push(...res.body.items.map((item: { name: string }) => item.name))
      next = res.body.next
      assert.equal(res.body.items.length, next === null ? ((seen.length - 1) % 2) + 1 : 2)
    }
    const rows = await hub.db('operators').orderBy('name').select('name')
    assert.ok(rows.length >= 6)
    assert.deepEqual(
      seen,
      rows.map((row) => row.name),
    )
    for (const query of [{ limit: 0 }, { limit: 'x' }, { cursor: 'x' }, { cursor: 'WyJhIiwiYiJd' }]) {
      assert.equal((await admin().get('/v1/operators').query(query)).status, 400)
    }
  })

  it('writes one audit row per change, naming the actor, without a token', async () => {
    const before = await hub.db('audit_log').count('* as n').first()
    const { id, token } = await add('audited', 'viewer')
    await admin().patch(`/v1/operators/${id}`).send({ role: 'operator' })
    await admin().post(`/v1/operators/${id}/rotate`)
    await admin().delete(`/v1/operators/${id}`)
    const rows = await hub.db('audit_log').where({ target: id }).orderBy('at')
    assert.deepEqual(
      rows.map((row) => row.action),
      ['operator.created', 'operator.changed', 'operator.rotated', 'operator.revoked'],
    )
    assert.ok(rows.every((row) => row.actor === 'operator:admin'))
    assert.deepEqual(
      rows.map((row) => row.detail),
      [
        { name: 'audited', role: 'viewer' },
        { before: { name: 'audited', role: 'viewer' }, change: { role: 'operator' } },
        { name: 'audited' },
        { name: 'audited' },
      ],
    )
    await admin().delete(`/v1/operators/${id}`)
    assert.ok(!JSON.stringify(rows).includes(token))
    const after = await hub.db('audit_log').count('* as n').first()
    assert.equal(after?.n, (before?.n as number) + 4)
  })

  it('changes nothing when the audit row cannot be written', async () => {
    await hub.db.raw('alter table audit_log rename to audit_log_away')
    const res = await admin().post('/v1/operators').send({ name: 'unaudited', role: 'viewer' })
    await hub.db.raw('alter table audit_log_away rename to audit_log')
    assert.equal(res.status, 500)
    assert.doesNotMatch(res.text, /audit|relation|postgres/i)
    assert.equal(await hub.db('operators').where({ name: 'unaudited' }).first(), undefined)
  })
})

describe('auth: the first admin', () => {
  let hub: AuthApp
  beforeEach(async () => {
    hub = await createAuthApp()
  })
  afterEach(() => hub.close())

  const ensure = (given?: string) =>
    ensureFirstAdmin({ db: hub.db, audit: plainAudit, logger: silentLogger, given })
  const works = async (token: string) =>
    (await request(hub.app).get('/v1/operators').auth(token, { type: 'bearer' })).status === 200

  it('is made once, even by several processes at once', async () => {
    await hub.db('operators').delete()
    const tokens = (await Promise.all([1, 2, 3, 4].map(() => ensure()))).filter(
      (token) => token !== undefined,
    )
    assert.equal(tokens.length, 1)
    assert.ok(await works(tokens[0] as string))
    assert.equal(await ensure(), undefined)
  })

  it('gets the given token from several processes at once, none of which fails', async () => {
    const given = 'given-to-all-0123456789'
    for (let round = 0; round < 10; round += 1) {
      await hub.db('operators').delete()
      await Promise.all(Array.from({ length: 6 }, () => ensure(given)))
      assert.equal((await hub.db('operators').select('id')).length, 1)
    }
    assert.ok(await works(given))
    await hub.db('operators').delete()
    await ensure()
  })

  it('has the given token from the next start on, and loses it only by a revocation', async () => {
    await ensure('given-token-0123456789')
    assert.ok(await works('given-token-0123456789'))
    assert.ok(!(await works(hub.adminToken)))
    await ensure('given-token-0123456789')
    await hub.db('operators').where({ name: 'admin' }).update({ revoked_at: new Date() })
    await ensure('given-token-0123456789')
    assert.ok(!(await works('given-token-0123456789')))
  })

  it('does not get a given token back that was rotated or reset away', async () => {
    const given = 'given-token-to-rotate-0123456789'
    await ensure(given)
    const admin = await hub.db('operators').where({ name: 'admin' }).first()
    const rotated = await request(hub.app)
      .post(`/v1/operators/${admin.id}/rotate`)
      .auth(given, { type: 'bearer' })
    assert.equal(rotated.status, 200)
    await ensure(given)
    assert.ok(!(await works(given)))
    assert.ok(await works(rotated.body.token))
    await ensure('given-token-to-reset-0123456789')
    const reset = await resetAdmin({ db: hub.db, audit: plainAudit })
    await ensure('given-token-to-reset-0123456789')
    assert.ok(await works(reset))
    await ensure('given-token-set-anew-0123456789')
    assert.ok(await works('given-token-set-anew-0123456789'))
  })

  it('is told of in the audit log, and of a given token that does not count in the log', async () => {
    const warnings: unknown[][] = []
    const logger = { ...silentLogger, warn: (...line: unknown[]) => void warnings.push(line) }
    const give = (given: string) => ensureFirstAdmin({ db: hub.db, audit: plainAudit, logger, given })
    const admin = await hub.db('operators').where({ name: 'admin' }).first()
    await give('first-given-0123')
    await give('first-given-0123')
    await resetAdmin({ db: hub.db, audit: plainAudit })
    await give('first-given-0123')
    await give('second-given-0123')
    await hub.db('operators').update({ revoked_at: new Date() })
    await give('second-given-0123')
    const rows = await hub.db('audit_log').orderBy('at').select('actor', 'action', 'target', 'detail')
    const target = admin.id
    const named = { name: 'admin' }
    assert.deepEqual(rows, [
      { actor: 'hub', action: 'operator.created', target, detail: { ...named, role: 'admin' } },
      { actor: 'hub', action: 'operator.token_set', target, detail: named },
      { actor: 'database access', action: 'operator.reset', target, detail: named },
      { actor: 'hub', action: 'operator.token_set', target, detail: named },
    ])
    const setting = 'FIREBREAK_ADMIN_TOKEN'
    assert.deepEqual(warnings, [
      ['operator.given_token_retired', { ...named, setting }],
      ['operator.given_token_revoked', { ...named, setting }],
    ])
  })

  it('gets full rights and a token without an end when one is given', async () => {
    const ended = { role: 'viewer', expires_at: new Date(0), revoked_at: new Date(0) }
    await hub.db('operators').where({ name: 'admin' }).update(ended)
    await ensure('given-after-the-end-0123')
    assert.ok(await works('given-after-the-end-0123'))
    const { role, expires_at, revoked_at } = await hub.db('operators').where({ name: 'admin' }).first()
    assert.deepEqual([role, expires_at, revoked_at], ['admin', null, null])
  })

  it('takes a given token of 16 to 512 characters that a header can carry', async () => {
    for (const given of ['x'.repeat(16), 'x'.repeat(512), 'A-Z.a_z~0+9/1234==']) {
      await ensure(given)
      assert.ok(await works(given), given)
    }
    for (const given of [
      'x'.repeat(15),
      'x'.repeat(513),
      '',
      'equals=in-the-middle',
      `${'x'.repeat(16)}\n`,
    ]) {
      await assert.rejects(
        () => ensure(given),
        { code: 'ERR_STARTUP', message: /16 to 512 characters/ },
        given,
      )
    }
  })

  it('leaves a given token to another admin who has it', async () => {
    const made = await request(hub.app)
      .post('/v1/operators')
      .auth(hub.adminToken, { type: 'bearer' })
      .send({ name: 'second', role: 'admin' })
    await ensure(made.body.token)
    assert.ok((await works(hub.adminToken)) && (await works(made.body.token)))
  })

  it('refuses a given token that is too short, unsendable, or of somebody who is no admin', async () => {
    const made = await request(hub.app)
      .post('/v1/operators')
      .auth(hub.adminToken, { type: 'bearer' })
      .send({ name: 'viewer', role: 'viewer' })
    for (const given of ['short', 'has a space in it 123', made.body.token]) {
      await assert.rejects(() => ensure(given), { code: 'ERR_STARTUP', message: /FIREBREAK_ADMIN_TOKEN/ })
    }
  })

  it('can be reset by whoever has the database, even after a revocation', async () => {
    await hub.db('operators').where({ name: 'admin' }).update({ revoked_at: new Date(), role: 'viewer' })
    const token = await resetAdmin({ db: hub.db, audit: plainAudit })
    assert.ok(await works(token))
    assert.ok((await hub.auditActions()).includes('operator.reset'))
  })

  it('cannot be the last to go, be it by a revocation, another role or an expiry', async () => {
    const admin = await hub.db('operators').where({ name: 'admin' }).first()
    const path = `/v1/operators/${admin.id}`
    const bearer = [hub.adminToken, { type: 'bearer' }] as const
    const calls = [
      request(hub.app).delete(path),
      request(hub.app).patch(path).send({ role: 'viewer' }),
      request(hub.app).patch(path).send({ expires_at: '2999-01-01T00:00:00Z' }),
    ]
    for (const call of calls) assert.equal((await call.auth(...bearer)).status, 409)
    // One that ends, and one that is revoked, do not stand in for it.
    for (const [name, expires_at] of [
      ['brief', '2999-01-01T00:00:00Z'],
      ['gone', null],
    ]) {
      const made = await request(hub.app)
        .post('/v1/operators')
        .send({ name, role: 'admin', expires_at })
        .auth(...bearer)
      if (name === 'brief') continue
      const gone = request(hub.app).delete(`/v1/operators/${made.body.id}`)
      assert.equal((await gone.auth(...bearer)).status, 204)
    }
    const again = await request(hub.app)
      .delete(path)
      .auth(...bearer)
    assert.equal(again.status, 409)
    assert.match(again.body.message, /last admin/)
    assert.ok(await works(hub.adminToken))
  })

  it('may change what takes no rights away, though it is the last', async () => {
    const admin = await hub.db('operators').where({ name: 'admin' }).first()
    for (const change of [{ name: 'root' }, { role: 'admin' }, { expires_at: null }]) {
      const res = await request(hub.app)
        .patch(`/v1/operators/${admin.id}`)
        .auth(hub.adminToken, { type: 'bearer' })
        .send(change)
      assert.equal(res.status, 200, JSON.stringify(change))
    }
    // Nobody is kept for an admin who ends by itself.
    const brief = await request(hub.app)
      .post('/v1/operators')
      .auth(hub.adminToken, { type: 'bearer' })
      .send({ name: 'brief', role: 'admin', expires_at: '2999-01-01T00:00:00Z' })
    const removed = await request(hub.app)
      .delete(`/v1/operators/${brief.body.id}`)
      .auth(hub.adminToken, { type: 'bearer' })
    assert.equal(removed.status, 204)
  })

  it('keeps one admin when two remove each other at once', async () => {
    const admin = await hub.db('operators').where({ name: 'admin' }).first()
    const second = await request(hub.app)
      .post('/v1/operators')
      .auth(hub.adminToken, { type: 'bearer' })
      .send({ name: 'second', role: 'admin' })
    const remove = async (token: string, id: string) =>
      (await request(hub.app).delete(`/v1/operators/${id}`).auth(token, { type: 'bearer' })).status
    // Holding one row makes the two meet: without locks on all admins, one would pass while the other waits.
    const held = await hub.db.transaction()
    await held('operators').where({ id: second.body.id }).forUpdate().select('id')
    const removals = [remove(hub.adminToken, second.body.id), remove(second.body.token, admin.id)]
    await Promise.race([...removals, bothWait(hub)])
    await held.rollback()
    assert.deepEqual((await Promise.all(removals)).sort(), [204, 409])
    assert.equal((await hub.db('operators').where({ role: 'admin', revoked_at: null })).length, 1)
  })
})

/** Resolves when two sessions of this database wait for a lock. */
async function bothWait(hub: AuthApp): Promise<void> {
  const waiting =
    "select count(*) as n from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
  for (;;) {
    const { rows } = await hub.db.raw<{ rows: { n: number }[] }>(waiting)
    if ((rows[0]?.n ?? 0) >= 2) return
  }
}
