import assert from 'node:assert/strict'
import type { Express } from 'express'
import request from 'supertest'
import { Forbidden } from '../../src/auth/bearer.js'
import { isAllowed, type Permission, type Role } from '../../src/auth/roles.js'
import { erasureRouter } from '../../src/delivery/erasure-router.js'
import { createApp } from '../../src/http/app.js'
import { silentLogger } from '../../src/kernel/logger.js'
import { type DeliveryHarness, startDelivery } from './delivery-harness.js'
import { createErasureRig, type ErasureRig } from './erasure-rig.js'

const SUBJECT = { format: 'email', email: 'canary.mail@example.com' }
const BODY = { subject: SUBJECT, reason: 'request 7' }
const UNKNOWN = '00000000-0000-7000-8000-000000000000'

describe('/v1/subjects: erasing over the API', () => {
  let hub: DeliveryHarness
  let rig: ErasureRig
  let app: Express
  let role: Role = 'admin'

  before(async () => {
    hub = await startDelivery()
    rig = createErasureRig(hub)
    const authorize =
      (permission: Permission) =>
      (_req: unknown, res: { locals: Record<string, unknown> }, next: (error?: unknown) => void) => {
        res.locals.operator = { id: 'o', name: 'ann', role }
        next(isAllowed(role, permission) ? undefined : new Forbidden('Not yours.'))
      }
    app = createApp({
      logger: silentLogger,
      mount: (shell) => void shell.use('/v1/subjects', erasureRouter({ erasures: rig.service, authorize })),
    })
  })
  beforeEach(() => {
    role = 'admin'
  })
  after(() => hub.close())

  const post = (body: object | string) =>
    request(app).post('/v1/subjects/erase').set('content-type', 'application/json').send(body)

  it('begins, shows how far it is and what it cannot reach, and ends', async () => {
    const begun = await post(BODY)
    assert.equal(begun.status, 202, begun.text)
    assert.equal(begun.body.state, 'running')
    assert.equal(begun.body.requested_by, 'operator:ann')
    assert.match(begun.body.subject_hash, /^[0-9a-f]{64}$/)
    assert.ok(begun.body.not_reached.length >= 4)
    assert.doesNotMatch(begun.text, /canary/)
    assert.equal(rig.rings(), 1)
    assert.equal((await post(BODY)).body.id, begun.body.id, 'asked twice is one')
    await rig.work()
    const done = await request(app).get(`/v1/subjects/erasures/${begun.body.id}`)
    assert.equal(done.body.state, 'done')
    assert.match(done.body.finished_at, /Z$/)
    const next = await post(BODY)
    assert.notEqual(next.body.id, begun.body.id)
    const [row] = await hub.rows<{ detail: object; target: string }>(
      "select detail, target from audit_log where action = 'subject.erase_requested' order by at limit 1",
    )
    assert.equal(row?.target, `subject:${begun.body.subject_hash}`)
    assert.deepEqual(row?.detail, {
      erasure_id: begun.body.id,
      reason: 'request 7',
      force: false,
      formats: ['email'],
    })
  })

  it('lists them newest first, in pages', async () => {
    await rig.work()
    const asked: string[] = []
    for (const id of ['a', 'b', 'c', 'd', 'e', 'f']) {
      asked.unshift((await post({ ...BODY, subject: { format: 'opaque', id } })).body.id)
    }
    const listed: { id: string; requested_at: string }[] = []
    for (let cursor = ''; listed.length < asked.length; ) {
      const { body } = await request(app).get(`/v1/subjects/erasures?limit=2${cursor}`)
      assert.equal(body.items.length, 2)
      listed.push(...body.items)
      cursor = `&cursor=${body.next}`
    }
    const times = listed.map((row) => row.requested_at)
    assert.deepEqual(times, [...times].sort().reverse())
    assert.deepEqual(listed.map((row) => row.id).sort(), [...asked].sort(), 'each once')
  })

  const BAD: [title: string, body: object | string, says: RegExp][] = [
    ['no subject', { reason: 'x' }, /subject is required/],
    ['no reason', { subject: SUBJECT }, /reason is required/],
    ['an empty reason', { ...BODY, reason: '' }, /reason/],
    ['a long reason', { ...BODY, reason: 'x'.repeat(501) }, /500/],
    [
      'a reason that names the person',
      { ...BODY, reason: 'Canary.Mail@example.com asked' },
      /leave the identifier out/,
    ],
    ['a subject that is text', { ...BODY, subject: 'canary.mail@example.com' }, /JSON object/],
    ['a subject without format', { ...BODY, subject: { email: 'a@b.example' } }, /format/],
    ['a subject that is not valid', { ...BODY, subject: { format: 'email', email: 'nobody' } }, /address/],
    ['a complex subject', { ...BODY, subject: { format: 'complex', user: SUBJECT } }, /alone/],
    ['a force that is no boolean', { ...BODY, force: 'yes' }, /true or false/],
    ['an unknown member', { ...BODY, everything: true }, /not known/],
    ['U+0000', { ...BODY, reason: 'a\u0000b' }, /U\+0000/],
    ['broken JSON', '{"subject":', /JSON/],
  ]
  for (const [title, body, says] of BAD) {
    it(`refuses ${title}, and begins nothing`, async () => {
      const count = async () => (await hub.rows('select 1 from erasures')).length
      const before = await count()
      const answer = await post(body)
      assert.equal(answer.status, 400, answer.text)
      assert.match(answer.body.message, says)
      assert.equal(await count(), before)
    })
  }

  it('knows no erasure that there is not, and no filter that there is not', async () => {
    for (const id of [UNKNOWN, 'x']) {
      assert.equal((await request(app).get(`/v1/subjects/erasures/${id}`)).status, 404)
    }
    for (const query of [
      'limit=0',
      'colour=red',
      'cursor=bm8',
      `cursor=${Buffer.from('["x"]').toString('base64url')}`,
      `cursor=${Buffer.from(`["x","${UNKNOWN}"]`).toString('base64url')}`,
    ]) {
      assert.equal((await request(app).get(`/v1/subjects/erasures?${query}`)).status, 400, query)
    }
  })

  it('lets admins alone erase, and auditors look', async () => {
    for (const each of ['viewer', 'operator', 'responder', 'approver'] as const) {
      role = each
      assert.equal((await post(BODY)).status, 403, each)
      assert.equal((await request(app).get('/v1/subjects/erasures')).status, 200)
    }
  })
})
