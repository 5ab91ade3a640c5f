import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import type { RequestHandler } from 'express'
import request from 'supertest'
import { MissingCredentials } from '../../src/auth/bearer.js'
import { createAcknowledgementRepository } from '../../src/enforcement/acknowledgement-repository.js'
import { acknowledgementRouter } from '../../src/enforcement/acknowledgement-router.js'
import { createAcknowledgementService } from '../../src/enforcement/acknowledgement-service.js'
import { createRevocationMetrics } from '../../src/enforcement/revocation-metrics.js'
import { createClock } from '../../src/kernel/clock.js'
import { type LogFields, type Logger, silentLogger } from '../../src/kernel/logger.js'
import { createMetrics } from '../../src/kernel/metrics.js'
import { createTestDatabase, type TestDatabase } from '../support/postgres.js'
import { appOf } from './enforcement-fixture.js'
import {
  type DeliveryFields,
  dayText,
  ensureDays,
  eventIdAt,
  jtis,
  SESSION_REVOKED,
  type SeedReceiver,
  seedDelivery,
  seedReceiver,
  seedStream,
} from './seed.js'

describe('POST /v1/acknowledgements', () => {
  let test: TestDatabase
  let gateway: SeedReceiver
  let other: SeedReceiver
  const lines: LogFields[] = []
  const clock = createClock()
  const metrics = createMetrics()
  const logger: Logger = { ...silentLogger, info: (_event, fields = {}) => void lines.push(fields) }

  /** Stands for requireReceiver: the header names the receiver. */
  const receiver: RequestHandler = (req, res, next) => {
    if (!req.get('x-receiver')) throw new MissingCredentials()
    res.locals.receiver = { receiverId: req.get('x-receiver') }
    next()
  }
  let app: ReturnType<typeof appOf>

  before(async () => {
    test = await createTestDatabase()
    gateway = await seedReceiver(test.db, 'gateway')
    other = await seedReceiver(test.db, 'other')
    const service = createAcknowledgementService({
      repository: createAcknowledgementRepository(test.db),
      clock,
      metrics: createRevocationMetrics(metrics, [SESSION_REVOKED]),
      jtis,
    })
    app = appOf(
      acknowledgementRouter({
        service,
        receiver,
        receiverOf: (res) => res.locals.receiver as { receiverId: string },
        clock,
        logger,
      }),
    )
  })
  after(() => test.close())

  const send = (body: unknown, as = gateway.receiverId) =>
    request(app)
      .post('/v1/acknowledgements')
      .set('x-receiver', as)
      .send(body as object)
  async function report(entries: object[], as = gateway.receiverId): Promise<string[]> {
    const answer = await send({ acknowledgements: entries }, as)
    assert.equal(answer.status, 200, JSON.stringify(answer.body))
    const results = answer.body.results as { jti: string; result: string }[]
    assert.deepEqual(
      results.map((each) => each.jti),
      entries.map((entry) => (entry as { jti: string }).jti),
    )
    return results.map((each) => each.result)
  }
  const stored = (eventId: string) => test.db('acknowledgements').where({ event_id: eventId })

  it('records an applied report with all its members, and answers repeat to the same again', async () => {
    const { jti, streamId, eventId } = await seedDelivery(test.db, gateway, {
      acceptedAtMs: clock.now() - 50,
    })
    const beforeMs = clock.now()
    const entry = {
      jti,
      stream_id: streamId,
      status: 'applied',
      replica: 'r1',
      reason: 'done',
      streams_cut: 3,
    }
    assert.deepEqual(await report([entry]), ['recorded'])
    assert.deepEqual(await report([entry]), ['repeat'])
    const [row, ...rest] = await stored(eventId)
    assert.equal(rest.length, 0)
    assert.equal(row.event_id, eventId)
    assert.equal(row.stage, 'applied')
    assert.equal(row.reason, 'done')
    assert.equal(row.streams_cut, 3)
    assert.ok(row.reported_at.getTime() >= Math.floor(beforeMs) && row.reported_at.getTime() <= clock.now())
    assert.deepEqual(
      await report([{ ...entry, replica: 'r2' }]),
      ['recorded'],
      'another replica is another report',
    )
    assert.deepEqual(await report([{ ...entry, status: 'failed' }]), ['recorded'], 'another status is too')
  })

  it('counts for every stream of the caller that got the jti, or for the named one only', async () => {
    const second = { ...gateway, streamId: await seedStream(test.db, gateway.receiverId) }
    const acceptedAtMs = clock.now()
    const first = await seedDelivery(test.db, gateway, { acceptedAtMs })
    await seedDelivery(test.db, second, { acceptedAtMs, eventId: first.eventId })
    assert.deepEqual(await report([{ jti: first.jti, stream_id: second.streamId, status: 'applied' }]), [
      'recorded',
    ])
    assert.equal((await stored(first.eventId)).length, 1)
    assert.deepEqual(
      await report([{ jti: first.jti, status: 'applied' }]),
      ['recorded'],
      'new for the first stream',
    )
    assert.equal((await stored(first.eventId)).length, 2)
    assert.deepEqual(await report([{ jti: first.jti, status: 'applied' }]), ['repeat'])
  })

  it('finds a SET whose 202 is not written yet, one handed out by poll, and a parked one', async () => {
    const acceptedAtMs = clock.now()
    const inFlight = await seedDelivery(test.db, gateway, { acceptedAtMs, place: 'queue' })
    const polled = await seedDelivery(test.db, gateway, { acceptedAtMs, place: 'queue', deliveredMs: 3 })
    const parked = await seedDelivery(test.db, gateway, { acceptedAtMs, place: 'parked' })
    const entries = [inFlight, polled, parked].map(({ jti }) => ({ jti, status: 'applied' }))
    assert.deepEqual(await report(entries), ['recorded', 'recorded', 'recorded'])
    assert.deepEqual(await report(entries), ['repeat', 'repeat', 'repeat'])
  })

  describe('of one jti on several streams', () => {
    /** The same SET on a stream of each kind. */
    async function setOn(streams: { method: 'push' | 'poll'; fields?: Partial<DeliveryFields> }[]) {
      const { receiverId } = await seedReceiver(test.db, `several ${randomUUID()}`)
      const acceptedAtMs = clock.now()
      const eventId = eventIdAt(acceptedAtMs)
      const jti = jtis.mint(eventId, receiverId)
      const ids: string[] = []
      for (const { method, fields } of streams) {
        const streamId = await seedStream(test.db, receiverId, method)
        ids.push(streamId)
        const place = { place: 'queue' as const, attempts: 0, ...fields }
        await seedDelivery(test.db, { receiverId, streamId }, { acceptedAtMs, eventId, ...place })
      }
      const applied = (stream_id?: string) =>
        report([{ jti, status: 'applied', ...(stream_id && { stream_id }) }], receiverId)
      return { ids, applied, counted: async () => (await stored(eventId)).map((row) => row.stream_id).sort() }
    }
    const handedOut = { deliveredMs: 3 }

    it('counts for the stream that was polled, and not for one that never was', async () => {
      const { ids, applied, counted } = await setOn([
        { method: 'poll', fields: handedOut },
        { method: 'poll' },
      ])
      assert.deepEqual(await applied(), ['recorded'])
      assert.deepEqual(await counted(), [ids[0]])
      assert.deepEqual(await applied(ids[1]), ['unknown'], 'not when it is named either')
    })

    it('counts for the only stream, a push whose answer is not written yet', async () => {
      const { ids, applied, counted } = await setOn([{ method: 'push' }])
      assert.deepEqual(await applied(), ['recorded'])
      assert.deepEqual(await counted(), ids)
    })

    it('takes the pushed stream for the one that got it, when none is said to have', async () => {
      const { ids, applied, counted } = await setOn([{ method: 'poll' }, { method: 'push' }])
      assert.deepEqual(await applied(), ['recorded'])
      assert.deepEqual(await counted(), [ids[1]])
    })

    it('counts for a push under way beside a polled stream only when it is named', async () => {
      const { ids, applied, counted } = await setOn([
        { method: 'poll', fields: handedOut },
        { method: 'push' },
      ])
      assert.deepEqual(await applied(), ['recorded'])
      assert.deepEqual(await counted(), [ids[0]])
      assert.deepEqual(await applied(ids[1]), ['recorded'])
      assert.deepEqual(await counted(), [...ids].sort())
    })

    for (const outcome of ['superseded', 'discarded', 'deleted', 'expired']) {
      it(`never counts for a SET ${outcome} before it was handed out, and does after`, async () => {
        const fields = { place: 'deliveries' as const, outcome }
        const never = await setOn([{ method: 'push', fields: { ...fields, deliveredMs: null } }])
        assert.deepEqual(await never.applied(), ['unknown'])
        const got = await setOn([{ method: 'push', fields: { ...fields, ...handedOut } }])
        assert.deepEqual(await got.applied(), ['recorded'])
      })
    }

    it('never counts for a SET parked before it was handed out', async () => {
      const { applied } = await setOn([{ method: 'push', fields: { place: 'parked', deliveredMs: null } }])
      assert.deepEqual(await applied(), ['unknown'])
    })
  })

  it("answers unknown for another receiver's jti or stream, and stores nothing", async () => {
    const theirs = await seedDelivery(test.db, other, { acceptedAtMs: clock.now() })
    const queued = await seedDelivery(test.db, other, { acceptedAtMs: clock.now(), place: 'queue' })
    const parked = await seedDelivery(test.db, other, { acceptedAtMs: clock.now(), place: 'parked' })
    const mine = await seedDelivery(test.db, gateway, { acceptedAtMs: clock.now() })
    const results = await report([
      { jti: theirs.jti, status: 'applied' },
      { jti: queued.jti, status: 'applied' },
      { jti: parked.jti, status: 'applied' },
      { jti: mine.jti, stream_id: other.streamId, status: 'applied' },
    ])
    assert.deepEqual(results, ['unknown', 'unknown', 'unknown', 'unknown'])
    for (const { eventId } of [theirs, queued, parked, mine]) assert.equal((await stored(eventId)).length, 0)
  })

  it('answers unknown for what no jti of the hub can be, and for a SET that was never to be sent', async () => {
    const superseded = await seedDelivery(test.db, gateway, {
      acceptedAtMs: clock.now(),
      outcome: 'superseded',
      deliveredMs: null,
    })
    const wrong = [
      'x',
      '00000101-abc',
      '20260231-abc',
      '20261399-abc',
      '20990101-abc',
      `${dayText(clock.now()).replaceAll('-', '')}-`,
      "20261122-'; drop table acknowledgements; --",
      `${dayText(clock.now() - 86_400_000).replaceAll('-', '')}-${superseded.jti.slice(9)}`,
      superseded.jti,
    ]
    const results = await report(wrong.map((jti) => ({ jti, status: 'applied' })))
    assert.deepEqual(new Set(results), new Set(['unknown']))
  })

  it('keeps the reports of 256 replicas of one delivery, and calls those of more unknown', async () => {
    const { jti, eventId } = await seedDelivery(test.db, gateway, { acceptedAtMs: clock.now() })
    const of = (from: number, to: number, status = 'applied') =>
      Array.from({ length: to - from + 1 }, (_, index) => ({ jti, status, replica: `r${from + index}` }))
    assert.deepEqual(new Set(await report(of(1001, 1100))), new Set(['recorded']))
    const rest = await report(of(1101, 1200))
    assert.deepEqual(new Set(rest), new Set(['recorded']))
    const last = await report(of(1201, 1300))
    assert.equal(last.filter((result) => result === 'recorded').length, 56)
    assert.equal(last.filter((result) => result === 'unknown').length, 44)
    assert.equal((await stored(eventId)).length, 256)
    assert.deepEqual(await report(of(1300, 1300)), ['unknown'])
    assert.deepEqual(await report(of(1001, 1001)), ['repeat'])
    assert.deepEqual(await report(of(1001, 1001, 'failed')), ['recorded'])
  })

  it('answers in the order asked, and calls the second of two equal entries a repeat', async () => {
    const a = await seedDelivery(test.db, gateway, { acceptedAtMs: clock.now() })
    const b = await seedDelivery(test.db, gateway, { acceptedAtMs: clock.now() })
    const results = await report([
      { jti: b.jti, status: 'applied' },
      { jti: 'nonsense', status: 'applied' },
      { jti: a.jti, status: 'not_applicable' },
      { jti: b.jti, status: 'applied' },
      { jti: a.jti, status: 'failed', reason: 'cache down' },
    ])
    assert.deepEqual(results, ['recorded', 'unknown', 'recorded', 'repeat', 'recorded'])
  })

  it('records each entry once when many requests report the same at the same time', async () => {
    const acceptedAtMs = clock.now()
    const seeded = await Promise.all(
      Array.from({ length: 20 }, () => seedDelivery(test.db, gateway, { acceptedAtMs })),
    )
    const entries = seeded.map(({ jti }) => ({ jti, status: 'applied' }))
    const answers = await Promise.all(
      Array.from({ length: 8 }, (_, turn) => report(turn % 2 === 0 ? entries : [...entries].reverse())),
    )
    assert.equal(answers.flat().filter((result) => result === 'recorded').length, 20)
    assert.equal(answers.flat().filter((result) => result === 'repeat').length, 140)
  })

  it('marks the hour of an older event for folding again, and not the current one', async () => {
    const oldMs = clock.now() - 3 * 3_600_000
    await ensureDays(test.db, oldMs, oldMs)
    const old = await seedDelivery(test.db, gateway, { acceptedAtMs: oldMs })
    const fresh = await seedDelivery(test.db, gateway, { acceptedAtMs: clock.now() })
    await test.db('latency_dirty_hours').delete()
    await report([old, fresh].map(({ jti }) => ({ jti, status: 'applied' })))
    const hours = await test.db('latency_dirty_hours').pluck('hour')
    assert.deepEqual(
      hours.map((hour: Date) => hour.getTime()),
      [Math.floor(oldMs / 3_600_000) * 3_600_000],
    )
    await test.db('latency_dirty_hours').delete()
    await report([{ jti: old.jti, status: 'applied' }])
    assert.equal((await test.db('latency_dirty_hours')).length, 0, 'a repeat changes nothing')
  })

  it('counts results and observes the time to applied, never below zero', async () => {
    const future = await seedDelivery(test.db, gateway, {
      acceptedAtMs: clock.now() + 5_000,
    })
    assert.deepEqual(await report([{ jti: future.jti, status: 'applied' }]), ['recorded'])
    const text = await metrics.render()
    assert.match(text, /firebreak_acknowledgements_total\{status="recorded"\} \d+/)
    assert.match(
      text,
      /firebreak_time_to_revoke_seconds_count\{stage="applied",event_type="caep\/session-revoked"\} \d+/,
    )
    assert.match(text, /firebreak_clock_skew_total\{stage="applied"\} 1/)
  })

  it('writes one line for a request', async () => {
    lines.length = 0
    await report([
      { jti: 'nonsense', status: 'applied' },
      { jti: 'nonsense', status: 'applied' },
    ])
    assert.equal(lines.length, 1)
    assert.equal(lines[0]?.unknown, 2)
    assert.equal(lines[0]?.receiver_id, gateway.receiverId)
  })

  it('takes 1,000 entries and refuses one more', async () => {
    const entries = (count: number) =>
      Array.from({ length: count }, () => ({ jti: 'nonsense', status: 'applied' }))
    assert.equal((await report(entries(1_000))).length, 1_000)
    const answer = await send({ acknowledgements: entries(1_001) })
    assert.equal(answer.status, 400)
    assert.match(answer.body.message, /acknowledgements .*1000/)
  })

  const bad: [string, unknown][] = [
    ['an array', []],
    ['no list', {}],
    ['an empty list', { acknowledgements: [] }],
    ['an unknown member', { acknowledgements: [{ jti: 'x', status: 'applied' }], more: 1 }],
    ['an unknown member of an entry', { acknowledgements: [{ jti: 'x', status: 'applied', colour: 'red' }] }],
    ['no jti', { acknowledgements: [{ status: 'applied' }] }],
    ['a jti that is a number', { acknowledgements: [{ jti: 1, status: 'applied' }] }],
    ['a status of a probe', { acknowledgements: [{ jti: 'x', status: 'verified' }] }],
    ['a stream that is no UUID', { acknowledgements: [{ jti: 'x', status: 'applied', stream_id: 's1' }] }],
    ['a negative cut', { acknowledgements: [{ jti: 'x', status: 'applied', streams_cut: -1 }] }],
    [
      'a cut too large to store',
      { acknowledgements: [{ jti: 'x', status: 'applied', streams_cut: 2 ** 31 }] },
    ],
    ['U+0000', { acknowledgements: [{ jti: 'x', status: 'applied', reason: 'a\0b' }] }],
    ['half a surrogate pair', { acknowledgements: [{ jti: 'x', status: 'applied', replica: '\ud800' }] }],
    ['a long reason', { acknowledgements: [{ jti: 'x', status: 'failed', reason: 'a'.repeat(1_001) }] }],
  ]
  for (const [what, body] of bad) {
    it(`refuses a body with ${what} and says what to write`, async () => {
      const answer = await send(body)
      assert.equal(answer.status, 400)
      assert.equal(answer.body.code, 'ERR_INVALID_REQUEST')
      assert.ok(answer.body.message.length > 10)
    })
  }

  it('authenticates before it reads the body', async () => {
    const answer = await request(app).post('/v1/acknowledgements').type('json').send('{"acknowledgements": [')
    assert.equal(answer.status, 401)
  })
})
