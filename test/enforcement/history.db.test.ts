import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import type { RequestHandler } from 'express'
import request from 'supertest'
import { createDeliveriesReadModel } from '../../src/enforcement/deliveries-read-model.js'
import { createEventsReadModel } from '../../src/enforcement/events-read-model.js'
import { historyRouter } from '../../src/enforcement/history-router.js'
import { createClock, toTimestamp } from '../../src/kernel/clock.js'
import { createTestDatabase, type TestDatabase } from '../support/postgres.js'
import { appOf } from './enforcement-fixture.js'
import {
  CREDENTIAL_CHANGE,
  dayText,
  ensureDays,
  eventIdAt,
  jtis,
  SESSION_REVOKED,
  type SeedReceiver,
  seedDelivery,
  seedReceiver,
  seedReport,
  seedSource,
} from './seed.js'

describe('history of deliveries and events', () => {
  let test: TestDatabase
  let gateway: SeedReceiver
  let broker: SeedReceiver
  let app: ReturnType<typeof appOf>
  const clock = createClock()
  const baseMs = Math.floor(clock.now() / 1000) * 1000 - 600_000
  const erasedDay = dayText(baseMs - 2 * 86_400_000)

  /** XOR stands for the day's cipher; the day whose key was erased fails as a real one does. */
  const keys = {
    contentCipher: async (day: string) => ({
      open(sealed: Buffer): Buffer {
        if (day === erasedDay) throw new Error('unable to authenticate data')
        return flip(sealed)
      },
    }),
  }
  const flip = (bytes: Buffer): Buffer => Buffer.from(bytes.map((byte) => byte ^ 0xff))
  const operator: RequestHandler = (_req, _res, next) => next()

  before(async () => {
    test = await createTestDatabase()
    gateway = await seedReceiver(test.db, 'gateway')
    broker = await seedReceiver(test.db, 'broker')
    await ensureDays(test.db, clock.now() - 3 * 86_400_000, clock.now())
    app = appOf(
      historyRouter({
        deliveries: createDeliveriesReadModel(test.db, jtis),
        events: createEventsReadModel(test.db, keys),
        operator,
      }),
    )
  })
  after(() => test.close())

  type Item = Record<string, unknown>
  async function ask(
    path: string,
    query: Record<string, string> = {},
  ): Promise<{ items: Item[]; next: string | null }> {
    const answer = await request(app).get(path).query(query)
    assert.equal(answer.status, 200, JSON.stringify(answer.body))
    return answer.body as { items: Item[]; next: string | null }
  }

  it('shows a received delivery with its times and what its point said', async () => {
    const txn = randomUUID()
    const delivery = await seedDelivery(test.db, gateway, { acceptedAtMs: baseMs, txn, attempts: 2 })
    await seedReport(test.db, delivery, { status: 'applied', replica: 'r1', atMs: baseMs + 40 })
    const { items, next } = await ask('/v1/deliveries', { txn })
    assert.equal(next, null)
    assert.deepEqual(items, [
      {
        jti: delivery.jti,
        stream_id: gateway.streamId,
        event_id: delivery.eventId,
        txn,
        receiver: { id: gateway.receiverId, name: 'gateway' },
        type: SESSION_REVOKED,
        lane: 'urgent',
        state: 'received',
        attempts: 2,
        failure: null,
        event_timestamp: baseMs / 1000 - 1,
        accepted_at: toTimestamp(baseMs),
        queued_at: toTimestamp(baseMs + 1),
        delivered_at: toTimestamp(baseMs + 5),
        received_at: toTimestamp(baseMs + 10),
        finished_at: toTimestamp(baseMs + 10),
        next_attempt_at: null,
        acknowledgements: [
          {
            stage: 'applied',
            status: 'applied',
            replica: 'r1',
            reason: null,
            streams_cut: null,
            reported_at: toTimestamp(baseMs + 40),
          },
        ],
      },
    ])
  })

  it('shows the newest 50 reports of a delivery', async () => {
    const txn = randomUUID()
    const delivery = await seedDelivery(test.db, gateway, { acceptedAtMs: baseMs, txn })
    for (let n = 1; n <= 60; n += 1) {
      await seedReport(test.db, delivery, { status: 'applied', replica: `r${n}`, atMs: baseMs + n })
    }
    const { items } = await ask('/v1/deliveries', { txn })
    const shown = (items.flatMap((item) => item.acknowledgements) as Item[]).map((report) => report.replica)
    assert.deepEqual(
      shown,
      Array.from({ length: 50 }, (_, index) => `r${index + 11}`),
    )
  })

  it('tells the states apart and filters by each', async () => {
    const txn = randomUUID()
    const seed = (fields: object) => seedDelivery(test.db, gateway, { acceptedAtMs: baseMs, txn, ...fields })
    const seeded: Record<string, string> = {
      queued: (await seed({ place: 'queue', failure: 'connect' })).jti,
      delivered: (await seed({ place: 'queue', deliveredMs: 4 })).jti,
      parked: (await seed({ place: 'parked' })).jti,
    }
    for (const outcome of ['received', 'superseded', 'discarded', 'deleted', 'expired']) {
      seeded[outcome] = (await seed({ outcome })).jti
    }
    const all = (await ask('/v1/deliveries', { txn })).items
    assert.deepEqual(Object.fromEntries(all.map((item) => [item.state, item.jti])), seeded)
    for (const [state, jti] of Object.entries(seeded)) {
      const { items } = await ask('/v1/deliveries', { txn, state })
      assert.deepEqual(
        items.map((item) => [item.jti, item.state]),
        [[jti, state]],
      )
    }
    const parked = all.find((item) => item.state === 'parked')
    assert.equal(parked?.failure, 'the receiver refused it')
    assert.ok(parked?.parked_id)
    assert.equal(all.find((item) => item.state === 'queued')?.failure, 'connect')
  })

  it('filters deliveries by stream, type and accept time', async () => {
    const txn = randomUUID()
    await seedDelivery(test.db, gateway, { acceptedAtMs: baseMs, txn })
    await seedDelivery(test.db, broker, {
      acceptedAtMs: baseMs + 1_000,
      txn,
      type: CREDENTIAL_CHANGE,
      place: 'queue',
    })
    const count = async (query: Record<string, string>) =>
      (await ask('/v1/deliveries', { txn, ...query })).items.length
    assert.equal(await count({ stream_id: gateway.streamId }), 1)
    assert.equal(await count({ stream_id: gateway.streamId.toUpperCase() }), 1)
    assert.equal(await count({ type: CREDENTIAL_CHANGE }), 1)
    assert.equal(await count({ from: toTimestamp(baseMs + 1_000) }), 1)
    assert.equal(await count({ to: toTimestamp(baseMs + 1_000) }), 1)
    assert.equal(await count({ from: toTimestamp(baseMs), to: toTimestamp(baseMs + 1_001) }), 2)
  })

  it('pages through deliveries of all places without a repeat or a gap', async () => {
    const txn = randomUUID()
    const expected = new Set<string>()
    for (let index = 0; index < 23; index += 1) {
      const place = (['deliveries', 'queue', 'parked'] as const)[index % 3] ?? 'queue'
      // Some share an accept time, as deliveries of one event do.
      const acceptedAtMs = baseMs + Math.floor(index / 4)
      const { jti } = await seedDelivery(test.db, index % 2 ? gateway : broker, { acceptedAtMs, place, txn })
      expected.add(jti)
    }
    const seen: Item[] = []
    let cursor: string | null = null
    do {
      const page: { items: Item[]; next: string | null } = await ask('/v1/deliveries', {
        txn,
        limit: '5',
        ...(cursor && { cursor }),
      })
      assert.ok(page.items.length <= 5)
      seen.push(...page.items)
      cursor = page.next
    } while (cursor)
    assert.equal(seen.length, 23)
    assert.deepEqual(new Set(seen.map((item) => item.jti)), expected)
    const times = seen.map((item) => String(item.accepted_at))
    assert.deepEqual(times, [...times].sort().reverse())
  })

  async function seedEvent(fields: Record<string, unknown>, acceptedAtMs = baseMs): Promise<string> {
    const eventId = eventIdAt(acceptedAtMs)
    await test.db('events').insert({
      event_id: eventId,
      day: dayText(acceptedAtMs),
      accepted_at: toTimestamp(acceptedAtMs),
      lane: 1,
      effect: 'tightens',
      type: SESSION_REVOKED,
      source_id: randomUUID(),
      source_issuer: 'https://idp.example',
      source_jti: 'j1',
      ...fields,
    })
    return eventId
  }

  it('shows events with their content opened, and an erased one without', async () => {
    const txn = randomUUID()
    const source_id = await seedSource(test.db, 'idp')
    const content = flip(
      Buffer.from(JSON.stringify({ sub_id: { format: 'opaque', id: 'u1' }, claims: { a: 1 } })),
    )
    const eventId = await seedEvent({ txn, source_id, content, event_timestamp: toTimestamp(baseMs - 1_000) })
    await seedEvent({ txn, content }, baseMs - 2 * 86_400_000)
    const { items } = await ask('/v1/events', { txn })
    assert.deepEqual(items[0], {
      event_id: eventId,
      txn,
      type: SESSION_REVOKED,
      lane: 'urgent',
      effect: 'tightens',
      state: 'accepted',
      quarantine: null,
      source: { id: source_id, name: 'idp', issuer: 'https://idp.example', jti: 'j1' },
      accepted_at: toTimestamp(baseMs),
      event_timestamp: baseMs / 1000 - 1,
      sub_id: { format: 'opaque', id: 'u1' },
      claims: { a: 1 },
      content: 'readable',
    })
    assert.deepEqual([items[1]?.sub_id, items[1]?.claims, items[1]?.content], [null, null, 'unreadable'])
  })

  it('filters events by state, stream, type and accept time, and pages in hub order', async () => {
    const txn = randomUUID()
    const first = await seedEvent({ txn })
    const second = await seedEvent({ txn, quarantine: 'unknown_type', type: 'urn:x' }, baseMs + 1_000)
    const third = await seedEvent({ txn }, baseMs + 2_000)
    await seedDelivery(test.db, gateway, { acceptedAtMs: baseMs, eventId: first, txn })
    await seedDelivery(test.db, gateway, {
      acceptedAtMs: baseMs + 2_000,
      eventId: third,
      txn,
      place: 'queue',
    })
    const ids = async (query: Record<string, string>) =>
      (await ask('/v1/events', { txn, ...query })).items.map((item) => item.event_id)
    assert.deepEqual(await ids({}), [third, second, first])
    assert.deepEqual(await ids({ state: 'quarantined' }), [second])
    assert.deepEqual(await ids({ state: 'accepted' }), [third, first])
    assert.deepEqual(await ids({ stream_id: gateway.streamId }), [third, first])
    assert.deepEqual(await ids({ stream_id: broker.streamId }), [])
    assert.deepEqual(await ids({ type: 'urn:x' }), [second])
    assert.deepEqual(await ids({ from: toTimestamp(baseMs + 1), to: toTimestamp(baseMs + 2_000) }), [second])
    const page = await ask('/v1/events', { txn, limit: '2' })
    assert.deepEqual(await ids({ limit: '2', cursor: String(page.next) }), [first])
  })

  const bad: [string, string, Record<string, string>][] = [
    ['an unknown filter', '/v1/deliveries', { colour: 'red' }],
    ['a state there is not', '/v1/deliveries', { state: 'lost' }],
    ['a state of deliveries', '/v1/events', { state: 'queued' }],
    ['a stream that is no UUID', '/v1/events', { stream_id: 's1' }],
    ['a time that is none', '/v1/deliveries', { from: 'yesterday' }],
    ['an empty window', '/v1/events', { from: '2026-11-22T08:00:00Z', to: '2026-11-22T07:00:00Z' }],
    ['U+0000', '/v1/deliveries', { txn: 'a\0' }],
    ['no items', '/v1/deliveries', { limit: '0' }],
    ['too many items', '/v1/events', { limit: '1001' }],
    ['a cursor that is none', '/v1/events', { cursor: 'x' }],
    ['a cursor of the other list', '/v1/deliveries', { cursor: Buffer.from('["a"]').toString('base64url') }],
    ['a forged cursor', '/v1/deliveries', { cursor: Buffer.from('["1;","a","b"]').toString('base64url') }],
  ]
  for (const [what, path, query] of bad) {
    it(`refuses ${what} at ${path}`, async () => {
      const answer = await request(app).get(path).query(query)
      assert.equal(answer.status, 400, JSON.stringify(answer.body))
      assert.equal(answer.body.code, 'ERR_INVALID_REQUEST')
    })
  }
})
