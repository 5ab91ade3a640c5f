import assert from 'node:assert/strict'
import type { Express } from 'express'
import request from 'supertest'
import { createAuditLog } from '../../src/audit/audit-log.js'
import { actorOf, requireOperator } from '../../src/auth/callers.js'
import { ensureFirstAdmin } from '../../src/auth/first-admin.js'
import { createOperatorService } from '../../src/auth/operator-service.js'
import { createApp } from '../../src/http/app.js'
import { createClock } from '../../src/kernel/clock.js'
import { silentLogger } from '../../src/kernel/logger.js'
import { createKeyService } from '../../src/keys/key-service.js'
import { keysRouter } from '../../src/keys/keys-router.js'
import { createRotationService } from '../../src/keys/rotation-service.js'
import { createTestDatabase, type TestDatabase } from '../support/postgres.js'

const LEAD_MS = 3_600_000

describe('keys: routes', () => {
  let test: TestDatabase
  let app: Express
  let admin: string
  let operator: string

  before(async () => {
    test = await createTestDatabase()
    const { db } = test
    const [clock, audit, logger] = [createClock(), createAuditLog(), silentLogger]
    const keys = await createKeyService({ db, clock, leadMs: LEAD_MS, logger })
    const rotation = createRotationService({
      db,
      ring: keys.ring,
      audit,
      leadMs: LEAD_MS,
      graceMs: { set: 1, log: 1 },
      fromFiles: [],
      isOutstanding: async () => false,
      changed: async () => void (await keys.refresh()),
    })
    const operators = createOperatorService({ db, audit, clock })
    admin = (await ensureFirstAdmin({ db, audit, logger })) as string
    operator = (await operators.create({ name: 'bob', role: 'operator', expiresAt: null }, 'test')).token
    const authorize = {
      read: requireOperator(operators, 'read'),
      manage: requireOperator(operators, 'keys.manage'),
    }
    app = createApp({
      logger,
      mount: (shell) => void shell.use('/v1/keys', keysRouter({ rotation, authorize, actorOf })),
    })
  })
  after(() => test.close())

  const list = () => request(app).get('/v1/keys').auth(operator, { type: 'bearer' })
  const rotate = (body: object, token = admin) =>
    request(app).post('/v1/keys/rotate').auth(token, { type: 'bearer' }).send(body)
  const retire = (kid: string, token = admin) =>
    request(app).post(`/v1/keys/${kid}/retire`).auth(token, { type: 'bearer' })

  it('list names, states and times, and nothing private', async () => {
    const { body, status } = await list()
    assert.equal(status, 200)
    assert.deepEqual(body.items.map((key: { use: string }) => key.use).sort(), ['log', 'ring', 'set', 'set'])
    assert.deepEqual(Object.keys(body.items[0]).sort(), [
      'active_from',
      'alg',
      'created_at',
      'kid',
      'origin',
      'retired_at',
      'retires_at',
      'state',
      'use',
    ])
  })

  it('rotate and retire as the operator who asked, and let only an admin do so', async () => {
    assert.equal((await rotate({ use: 'log' }, operator)).status, 403)
    assert.equal((await rotate({ use: 'log' }, 'x'.repeat(40))).status, 401)
    const made = await rotate({ use: 'log' })
    assert.equal(made.status, 201)
    const [key] = made.body.items
    assert.equal(key.state, 'next')
    assert.equal((await rotate({ use: 'log' })).status, 409)
    const signing = (await list()).body.items.find((item: { state: string }) => item.state === 'active')
    assert.equal((await retire(signing.kid)).status, 409)
    assert.equal((await retire(key.kid, operator)).status, 403)
    await test.db.raw("update signing_keys set active_from = active_from - interval '2 hours'")
    const old = (await list()).body.items.find((item: { state: string }) => item.state === 'retiring')
    const retired = await retire(old.kid)
    assert.equal(retired.status, 200)
    assert.equal(retired.body.state, 'retired')
    const rows = await test.db('audit_log').where('action', 'like', 'key.%').orderBy('at')
    assert.deepEqual(
      rows.map(({ actor, action }) => `${actor} ${action}`),
      ['operator:admin key.rotated', 'operator:admin key.retired'],
    )
  })

  it('rotate the ring', async () => {
    const made = await rotate({ use: 'ring' })
    assert.equal(made.status, 201)
    assert.equal(made.body.items[0].state, 'next')
    assert.equal((await rotate({ use: 'ring' })).status, 409)
    const states = (await list()).body.items
      .filter((key: { use: string }) => key.use === 'ring')
      .map((key: { state: string }) => key.state)
    assert.deepEqual(states, ['next', 'active'])
    const refused = await retire(made.body.items[0].kid)
    assert.equal(refused.status, 409)
    assert.match(refused.body.message, /key of the ring/)
  })

  for (const [why, body, message] of [
    ['no use', {}, 'use is required.'],
    ['an unknown use', { use: 'oauth' }, 'use must be one of set, log, ring.'],
    ['an unknown algorithm', { use: 'set', alg: 'none' }, 'alg must be one of RS256, ES256.'],
    ['an algorithm that the log does not know', { use: 'log', alg: 'RS256' }, 'alg must be "ES256".'],
    ['an algorithm for the ring', { use: 'ring', alg: 'ES256' }, 'alg does not go with the other members.'],
    ['a ring key at once', { use: 'ring', now: true }, 'now does not go with the other members.'],
    ['a text for now', { use: 'set', now: 'yes' }, 'now must be true or false.'],
    ['an unknown member', { use: 'set', kid: 'k' }, 'kid is not known here.'],
    ['a list', [], 'the body must be a JSON object.'],
  ] as const) {
    it(`answer 400 to ${why}`, async () => {
      const answer = await rotate(body)
      assert.equal(answer.status, 400)
      assert.equal(answer.body.code, 'ERR_INVALID_REQUEST')
      assert.equal(answer.body.message, message)
    })
  }

  it('answer 404 for a kid that does not exist or can be none', async () => {
    for (const kid of ['A'.repeat(43), 'short', '%00', 'A'.repeat(5_000)]) {
      assert.equal((await retire(kid)).status, 404, kid)
    }
  })
})
