import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import type { Express } from 'express'
import request from 'supertest'
import { createAuditLog } from '../../src/audit/audit-log.js'
import { Forbidden } from '../../src/auth/bearer.js'
import { isAllowed, type Permission, type Role } from '../../src/auth/roles.js'
import { causeOf } from '../../src/delivery/cause.js'
import { parkedRepository } from '../../src/delivery/parked-repository.js'
import { parkedRouter } from '../../src/delivery/parked-router.js'
import { createParkedService } from '../../src/delivery/parked-service.js'
import { createApp } from '../../src/http/app.js'
import { silentLogger } from '../../src/kernel/logger.js'
import { CAEP } from '../../src/secevent/event-types.js'
import { waitUntil } from '../support/wait.js'
import { type DeliveryHarness, type Sink, startDelivery, startSink } from './delivery-harness.js'

interface Parked {
  id: string
  txn: string
  stream_id: string
  code: string
  type: string
  state: string
  resolution: string | null
}

describe('parked SETs', () => {
  let hub: DeliveryHarness
  let sink: Sink
  let app: Express
  let role: Role
  let first: string
  let second: string

  beforeEach(async () => {
    hub = await startDelivery()
    sink = await startSink()
    role = 'operator'
    const receiverId = await hub.addReceiver()
    first = await hub.addStream({ receiverId, endpointUrl: sink.url })
    second = await hub.addStream({ receiverId, endpointUrl: sink.url, types: [CAEP.sessionRevoked] })
    const parked = createParkedService({
      db: hub.db,
      audit: createAuditLog(),
      logger: silentLogger,
      onReplayed: (streamId) => hub.delivery.wake(streamId),
    })
    const authorize =
      (permission: Permission) =>
      (_req: unknown, res: { locals: Record<string, unknown> }, next: (error?: unknown) => void) => {
        res.locals.operator = { id: 'o', name: 'ann', role }
        next(isAllowed(role, permission) ? undefined : new Forbidden('Not yours.'))
      }
    app = createApp({
      logger: silentLogger,
      mount: (shell) => void shell.use('/v1/parked', parkedRouter({ parked, authorize })),
    })
  })
  afterEach(async () => {
    await hub.close()
    await sink.close()
  })

  const refuse = (err: string) => {
    sink.answer = (_request, res) => void res.writeHead(400).end(JSON.stringify({ err, description: 'no' }))
  }
  const take = () => {
    sink.answer = (_request, res) => void res.writeHead(202).end()
  }
  const list = async (query = ''): Promise<Parked[]> =>
    (await request(app).get(`/v1/parked${query}`).expect(200)).body.items
  const untilParked = (count: number) =>
    waitUntil(`${count} to be parked`, async () => (await list()).length === count)
  const post = (path: string, body: object) => request(app).post(`/v1/parked/${path}`).send(body)
  const audited = (action: string) =>
    hub.rows<{ actor: string; target: string; detail: object }>(
      'select actor, target, detail from audit_log where action = ? order by target',
      [action],
    )
  const txnsSent = () => sink.received.map(({ claims }) => claims.txn)

  it('go out again under the same jti by filter, each with its audit row, and all else stays', async () => {
    refuse('invalid_key')
    const revoked = [hub.event(), hub.event({ subject: { format: 'email', email: 'b@example.com' } })]
    const device = hub.event({
      type: CAEP.deviceComplianceChange,
      claims: { previous_status: 'compliant', current_status: 'not-compliant' },
    })
    await hub.fanOut([...revoked, device])
    await untilParked(5)
    const before = new Set(sink.received.map(({ claims }) => claims.jti))
    sink.received.length = 0
    take()

    const mine = (await list(`?stream_id=${first}&type=${CAEP.sessionRevoked}`)).map(({ id }) => id)
    assert.equal(mine.length, 2)
    const filter = { stream_id: first, type: CAEP.sessionRevoked }
    const { body } = await post('replay', { filter }).expect(202)
    assert.deepEqual({ ...body, to: 0 }, { replayed: 2, left: 0, more: false, to: 0 })
    await waitUntil('both', () => sink.received.length === 2)
    assert.deepEqual([...txnsSent()].sort(), revoked.map(({ txn }) => txn).sort())
    assert.ok(sink.received.every(({ claims }) => before.has(claims.jti)))
    const rows = await audited('parked.replay')
    assert.deepEqual(
      rows.map(({ target }) => target),
      [...mine].sort(),
    )
    assert.deepEqual(rows[0]?.actor, 'operator:ann')
    assert.deepEqual(rows[0]?.detail, { stream_id: first })
    assert.equal((await list()).length, 3)

    const other = await post('replay', { filter: { code: 'invalid_key', txn: device.txn } }).expect(202)
    assert.equal(other.body.replayed, 1)
    assert.deepEqual(new Set((await list()).map((row) => row.stream_id)), new Set([second]))
  })

  it('wait from the replay on, so that they are not told as untaken for days, and keep when they were accepted', async () => {
    refuse('invalid_key')
    await hub.fanOut([hub.event()])
    await untilParked(2)
    const days = 3 * 86_400_000
    await hub.rows(
      `update parked set delivery = delivery || jsonb_build_object('queued_at', ?::text, 'accepted_at', ?::text)`,
      [new Date(Date.now() - days).toISOString(), new Date(Date.now() - days).toISOString()],
    )
    sink.answer = (_request, res) => void res.writeHead(503).end()
    await post('replay', { filter: { stream_id: first } }).expect(202)
    const [row] = await hub.rows<{ queued_at: Date; accepted_at: Date }>(
      'select queued_at, accepted_at from delivery_queue',
    )
    assert.ok(Date.now() - (row?.queued_at.getTime() ?? 0) < days / 3, String(row?.queued_at))
    assert.ok(Date.now() - (row?.accepted_at.getTime() ?? 0) >= days)
  })

  it('keep their cause, by which they get their turns, and have none where an older release parked them', async () => {
    refuse('invalid_key')
    const event = hub.event()
    await hub.fanOut([event])
    await untilParked(2)
    await hub.rows("update parked set delivery = delivery - 'cause' where stream_id = ?", [second])
    sink.answer = (_request, res) => void res.writeHead(503).end()
    await post('replay', { filter: { code: 'invalid_key' } }).expect(202)
    const causes = await hub.rows<{ stream_id: string; cause: number }>(
      'select stream_id, cause from delivery_queue',
    )
    assert.deepEqual(
      new Map(causes.map(({ stream_id, cause }) => [stream_id, cause])),
      new Map([
        [first, causeOf(event.sourceId, event.txn)],
        [second, 0],
      ]),
    )
  })

  it('keep their safe order: a replayed all-clear never follows the newer revocation', async () => {
    refuse('invalid_key')
    const allClear = hub.event({
      type: CAEP.deviceComplianceChange,
      claims: { previous_status: 'not-compliant', current_status: 'compliant' },
    })
    await hub.fanOut([allClear])
    await untilParked(1)
    take()
    const newer = hub.event()
    await hub.fanOut([newer])
    await waitUntil('the revocation', () => txnsSent().includes(newer.txn))
    sink.received.length = 0
    await post('replay', { filter: { stream_id: first } }).expect(202)
    const outcomes = () =>
      hub.rows<{ outcome: string }>('select outcome from deliveries where event_id = ?', [allClear.eventId])
    await waitUntil('its end', async () => (await outcomes()).length === 1)
    assert.deepEqual(await outcomes(), [{ outcome: 'superseded' }])
    assert.ok(!txnsSent().includes(allClear.txn))
  })

  it('are replayed in time order and 500 in a call, and what is parked meanwhile is left to another', async () => {
    refuse('invalid_key')
    await hub.fanOut([hub.event()])
    await untilParked(2)
    // 600 of one stream, as if they had been refused a minute apart.
    await hub.rows(
      `insert into parked (id, kind, code, reason, lane, stream_id, event_id, type, txn, parked_at)
       select gen_random_uuid(), 'record', 'odd', 'odd', 2, null, null, null, 'n' || n, now() - make_interval(mins => 700 - n)
       from generate_series(1, 600) n`,
    )
    const filter = { code: 'odd' }
    const { body } = await post('discard', { filter, reason: 'a flood' }).expect(200)
    assert.deepEqual([body.discarded, body.left, body.more], [500, 100, true])
    assert.ok(
      (await list('?code=odd&limit=1000')).every(({ txn }) => Number(txn.slice(1)) > 500),
      'oldest first',
    )
    await hub.rows(
      "insert into parked (id, kind, code, reason, parked_at) values (?, 'record', 'odd', 'late', now() + interval '1 hour')",
      [randomUUID()],
    )
    const rest = await post('discard', { filter: { ...filter, to: body.to }, reason: 'a flood' }).expect(200)
    assert.deepEqual({ ...rest.body }, { discarded: 100, left: 0, more: false, to: body.to })
    assert.equal((await list('?code=odd')).length, 1)
    assert.equal((await list()).length, 3, 'and what the filter does not name')
    const rows = await audited('parked.discard')
    assert.equal(rows.length, 600)
    assert.deepEqual(rows[0]?.detail, { reason: 'a flood' })
  })

  it('are left alone when they were parked after the call began', async () => {
    refuse('invalid_key')
    await hub.fanOut([hub.event()])
    await untilParked(2)
    await hub.rows("update parked set parked_at = parked_at + interval '1 hour'")
    const filter = { code: 'invalid_key', to: '2999-01-01T00:00:00Z' }
    const replayed = await post('replay', { filter }).expect(202)
    assert.deepEqual([replayed.body.replayed, replayed.body.left], [0, 0])
    assert.ok(Date.parse(replayed.body.to) < Date.now() + 60_000)
    const discarded = await post('discard', { filter, reason: 'r' }).expect(200)
    assert.equal(discarded.body.discarded, 0)
    assert.equal((await list()).length, 2)
  })

  it('stay, and are counted, when they cannot go out again', async () => {
    refuse('invalid_key')
    await hub.fanOut([hub.event()])
    await untilParked(2)
    await hub.rows("update streams set status = 'disabled' where stream_id = ?", [second])
    take()
    const { body } = await post('replay', { filter: { code: 'invalid_key' } }).expect(202)
    assert.deepEqual([body.replayed, body.left, body.more], [1, 1, false])
    assert.deepEqual(
      (await list()).map((row) => row.stream_id),
      [second],
    )
  })

  it('go on past one that is queued again already, however many are behind it', async () => {
    refuse('invalid_key')
    await hub.fanOut([hub.event()])
    await untilParked(2)
    await hub.rows('delete from parked where stream_id = ?', [second])
    await hub.rows(`with twin as (select gen_random_uuid() as id from generate_series(1, 504)), events_too as (
        insert into events select (jsonb_populate_record(e, jsonb_build_object('event_id', twin.id))).* from events e, twin
      )
      insert into parked select (jsonb_populate_record(p, jsonb_build_object('id', gen_random_uuid(), 'event_id', twin.id,
        'parked_at', now(), 'delivery', p.delivery || jsonb_build_object('event_id', twin.id)))).* from parked p, twin`)
    // The oldest.
    await hub.rows(`insert into delivery_queue select q.* from parked p, jsonb_populate_record(null::delivery_queue,
      p.delivery || jsonb_build_object('next_attempt_at', now() + interval '1 hour')) q order by p.parked_at limit 1`)
    take()
    const filter = { code: 'invalid_key' }
    const { body } = await post('replay', { filter }).expect(202)
    assert.deepEqual([body.replayed, body.left, body.more], [500, 5, true])
    const rest = await post('replay', { filter: { ...filter, to: body.to } }).expect(202)
    assert.deepEqual([rest.body.replayed, rest.body.left, rest.body.more], [4, 1, false])
  })

  it('are listed along an index, page by page', async () => {
    const asked: { sql: string; bindings: readonly unknown[] }[] = []
    const note = (query: (typeof asked)[number]) => void asked.push(query)
    hub.db.on('query', note)
    const after = { at: new Date().toISOString(), id: randomUUID() }
    for (const page of [{}, { after }])
      await parkedRepository.list(hub.db, { state: 'all', limit: 10, ...page })
    hub.db.removeListener('query', note)
    assert.equal(asked.length, 2)
    for (const { sql, bindings } of asked) {
      const plan = await hub.db.transaction(async (trx) => {
        await trx.raw('set local enable_seqscan = off; set local enable_sort = off')
        const { rows } = await trx.raw(`explain ${sql.replaceAll(/\$\d+/g, '?')}`, [...bindings] as string[])
        return JSON.stringify(rows)
      })
      assert.match(plan, /parked_listed/)
      assert.doesNotMatch(plan, /Sort/)
    }
  })

  it('are given up by filter with a reason that stands with the delivery', async () => {
    refuse('invalid_key')
    const event = hub.event()
    await hub.fanOut([event])
    await untilParked(2)
    const { body } = await post('discard', { filter: { txn: event.txn }, reason: 'test data' }).expect(200)
    assert.equal(body.discarded, 2)
    assert.deepEqual(await list(), [])
    assert.deepEqual(
      (await list('?state=resolved')).map(({ resolution }) => resolution),
      ['discarded: test data', 'discarded: test data'],
    )
    assert.deepEqual(await hub.rows('select outcome, failure from deliveries'), [
      { outcome: 'discarded', failure: 'test data' },
      { outcome: 'discarded', failure: 'test data' },
    ])
    const again = await post('discard', { filter: { txn: event.txn }, reason: 'again' }).expect(200)
    assert.equal(again.body.discarded, 0)
  })

  it('can be given up after the results of their day are gone', async () => {
    refuse('invalid_key')
    await hub.fanOut([hub.event()])
    await untilParked(2)
    await hub.rows(`update parked set delivery = delivery || '{"day": "2020-01-01"}'`)
    const [one] = await list()
    await post(`${one?.id}/discard`, { reason: 'old' }).expect(200)
    assert.equal(
      (await post('discard', { filter: { code: 'invalid_key' }, reason: 'old' })).body.discarded,
      1,
    )
  })

  it('are settled once when two people settle them at the same time', async () => {
    refuse('invalid_key')
    await hub.fanOut([hub.event()])
    await untilParked(2)
    take()
    const filter = { code: 'invalid_key' }
    const answers = await Promise.all([
      post('replay', { filter }),
      post('discard', { filter, reason: 'no' }),
      post('replay', { filter }),
    ])
    const done = answers.map(({ body }) => (body.replayed ?? 0) + (body.discarded ?? 0))
    assert.equal(
      done.reduce((sum, count) => sum + count),
      2,
    )
    assert.equal((await audited('parked.replay')).length + (await audited('parked.discard')).length, 2)
  })

  it('are settled by no filter that is empty, wrong or unknown, and never without a reason', async () => {
    refuse('invalid_key')
    await hub.fanOut([hub.event()])
    await untilParked(2)
    const filters: unknown[] = [
      undefined,
      null,
      'all',
      [],
      {},
      { stream_id: 'x' },
      { stream_id: null },
      { txn: '' },
      { txn: 'x'.repeat(256) },
      { type: 7 },
      { type: '' },
      { code: '' },
      { code: 'x'.repeat(101) },
      { code: 'a\u0000' },
      { from: 'yesterday' },
      { from: '0000-01-01T00:00:00Z' },
      { to: '0001-01-01T00:00:00+01:00' },
      { to: '9999-12-31T23:59:59-01:00' },
      { to: '2026-12-31T23:59:60Z' },
      { state: 'open' },
      { id: randomUUID() },
    ]
    for (const filter of filters) {
      for (const [path, body] of [
        ['replay', { filter }],
        ['discard', { filter, reason: 'r' }],
      ] as const) {
        const answer = await post(path, body)
        assert.deepEqual(
          [answer.status, answer.body.code],
          [400, 'ERR_INVALID_REQUEST'],
          JSON.stringify(filter),
        )
      }
    }
    const good = { code: 'invalid_key' }
    for (const body of [
      { filter: good },
      { filter: good, reason: '' },
      { filter: good, reason: 'x'.repeat(501) },
    ]) {
      assert.equal((await post('discard', body)).status, 400)
    }
    assert.equal((await post('replay', { filter: good, reason: 'no use' })).status, 400)
    for (const query of ['code=', 'from=yesterday', 'from=0000-01-01T00:00:00Z', 'colour=red']) {
      assert.equal((await request(app).get(`/v1/parked?${query}`)).status, 400, query)
    }
    role = 'viewer'
    assert.equal((await post('replay', { filter: good })).status, 403)
    assert.equal((await post('discard', { filter: good, reason: 'r' })).status, 403)
    assert.equal((await list()).length, 2)
  })
})
