import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import type { Condition, Probe } from '../../src/alerts/alert.js'
import { createAlertReporter, createReportsProbe } from '../../src/alerts/alert-reporter.js'
import { createCertificateProbe } from '../../src/alerts/certificate-read-model.js'
import { createConflictProbe } from '../../src/alerts/conflict-read-model.js'
import { createMissedObjectivesProbe } from '../../src/alerts/missed-objectives.js'
import {
  createClockCondition,
  createFallbackCondition,
  createKeysCondition,
} from '../../src/alerts/own-conditions.js'
import { createParkedProbe } from '../../src/alerts/parked-read-model.js'
import { reportRepository } from '../../src/alerts/report-repository.js'
import { createSourceClockProbe } from '../../src/alerts/source-clock-read-model.js'
import { createStreamHealthReadModel } from '../../src/alerts/stream-health-read-model.js'
import { createStreamProbes } from '../../src/alerts/stream-probe.js'
import { createUpstreamProbe } from '../../src/alerts/upstream-read-model.js'
import { conflictRepository } from '../../src/delivery/conflict-repository.js'
import { createMissedObjectiveReadModel } from '../../src/enforcement/missed-objective-read-model.js'
import { samplesSql } from '../../src/enforcement/sample-sql.js'
import { runSql, sql } from '../../src/enforcement/sql-fragment.js'
import { silentLogger } from '../../src/kernel/logger.js'
import { LANES, type Lane } from '../../src/secevent/event.js'
import {
  CREDENTIAL_CHANGE,
  ensureDays,
  type SeedReceiver,
  seedDelivery,
  seedReceiver,
  seedReport,
  seedSource,
  seedStream,
} from '../enforcement/seed.js'
import { createTestDatabase, type TestDatabase } from '../support/postgres.js'
import { waitUntil } from '../support/wait.js'

const MINUTE_MS = 60_000
const brief = (conditions: readonly Condition[]) =>
  conditions.map(({ kind, object }) => `${kind} ${object}`).sort()

interface PlanNode {
  'Relation Name'?: string
  'Actual Rows': number
  'Actual Loops': number
  'Rows Removed by Filter'?: number
  Plans?: PlanNode[]
}

function rowsRead(node: PlanNode, table: string): number {
  const own =
    node['Relation Name'] === table
      ? (node['Actual Rows'] + (node['Rows Removed by Filter'] ?? 0)) * node['Actual Loops']
      : 0
  return (node.Plans ?? []).reduce((sum, plan) => sum + rowsRead(plan, table), own)
}

describe('alerts: what is told', () => {
  let test: TestDatabase
  let poller: SeedReceiver
  let pusher: SeedReceiver
  let inLogS = 0
  let monotonicMs = 0

  before(async () => {
    test = await createTestDatabase()
    await ensureDays(test.db, Date.now() - 3 * 86_400_000, Date.now() + 86_400_000)
  })
  beforeEach(async () => {
    inLogS = 0
    poller = await seedReceiver(test.db, `poller-${randomUUID()}`)
    const { receiverId } = await seedReceiver(test.db, `pusher-${randomUUID()}`)
    pusher = { receiverId, streamId: await seedStream(test.db, receiverId, 'push') }
  })
  afterEach(async () => {
    await test.db.raw(
      'truncate delivery_queue, deliveries, parked, events, acknowledgements, alert_reports, stream_holds, streams, conflicting_repeats cascade',
    )
  })
  after(() => test.close())

  const ago = (ms: number) => Date.now() - ms
  const streamProbes = (lag = async () => [{ lane: 'routine' as Lane, oldestAgeS: inLogS }]): Probe[] =>
    createStreamProbes({
      streams: createStreamHealthReadModel(test.db),
      lag,
      failingMs: MINUTE_MS,
      lagMs: 30_000,
      clock: { monotonicMs: () => monotonicMs },
    })
  /** Both as one. */
  const streams = (): Probe => {
    const probes = streamProbes()
    return {
      kinds: probes.flatMap(({ kinds }) => kinds),
      look: async () => (await Promise.all(probes.map((probe) => probe.look()))).flat(),
      forget: () => probes.forEach((probe) => void probe.forget?.()),
    }
  }
  /** Looks, and again after this time. */
  const lookTwice = async (probe: Probe, apartMs: number) => {
    await probe.look()
    monotonicMs += apartMs
    return probe.look()
  }
  const queue = (
    to: SeedReceiver,
    fields: { ageMs: number; attempts?: number; failure?: string; lane?: number },
  ) => seedDelivery(test.db, to, { place: 'queue', acceptedAtMs: ago(fields.ageMs), attempts: 0, ...fields })
  const setStatus = (streamId: string, status: string, by: string) =>
    test
      .db('streams')
      .where({ stream_id: streamId })
      .update({ status, status_by: by, status_reason: 'silent' })

  describe('stream_failing', () => {
    it('is told while nobody knows the lag of the log, of which then nothing is said', async () => {
      await queue(pusher, { ageMs: 2 * MINUTE_MS, attempts: 9, failure: 'answered 503' })
      const looks = await Promise.allSettled(
        streamProbes(() => Promise.reject(new Error('Kafka is away'))).map((probe) => probe.look()),
      )
      assert.deepEqual(
        looks.map((look) => (look.status === 'fulfilled' ? brief(look.value) : 'blind')),
        [[`stream_failing stream:${pusher.streamId}`], 'blind'],
      )
    })

    it('opens when a receiver has not taken a SET for the set time, and ends when it is taken', async () => {
      await queue(pusher, { ageMs: 2 * MINUTE_MS, attempts: 9, failure: 'answered 503' })
      await queue(pusher, { ageMs: MINUTE_MS, attempts: 0 })
      const [condition, ...more] = await streams().look()
      assert.deepEqual(more, [])
      assert.equal(condition?.object, `stream:${pusher.streamId}`)
      assert.match(condition?.summary ?? '', /^pusher-.* has not taken a SET for 2 min\.$/)
      assert.deepEqual([condition?.detail.why, condition?.detail.failure], ['not_taken', 'answered 503'])
      await test.db('delivery_queue').delete()
      assert.deepEqual(await streams().look(), [])
    })

    it('stays closed for what is young, and for a stream that somebody else holds', async () => {
      await queue(pusher, { ageMs: MINUTE_MS / 2, attempts: 4, failure: 'connect' })
      assert.deepEqual(await streams().look(), [])
      await queue(pusher, { ageMs: 3 * MINUTE_MS, attempts: 4, failure: 'connect', lane: 0 })
      assert.equal((await streams().look()).length, 1)
      for (const [status, by] of [
        ['paused', 'receiver'],
        ['paused', 'operator'],
        ['disabled', 'hub'],
      ] as const) {
        await setStatus(pusher.streamId, status, by)
        assert.deepEqual(await streams().look(), [], `${status} by ${by}`)
      }
    })

    it('opens for a poller that acknowledges nothing, whether it fetched or not', async () => {
      await queue(poller, { ageMs: 2 * MINUTE_MS })
      const [condition] = await streams().look()
      assert.equal(condition?.kind, 'stream_failing')
      assert.equal(condition?.detail.why, 'not_acknowledged')
    })

    it('opens while the hub has paused the stream, with nothing owed too', async () => {
      await setStatus(poller.streamId, 'paused', 'hub')
      const [condition] = await streams().look()
      assert.deepEqual(
        [condition?.object, condition?.detail.why, condition?.detail.reason],
        [`stream:${poller.streamId}`, 'paused', 'silent'],
      )
      await setStatus(poller.streamId, 'enabled', 'operator')
      assert.deepEqual(await streams().look(), [])
    })

    it('ends when the receiver is disabled: nothing is sent to it then', async () => {
      await queue(pusher, { ageMs: 2 * MINUTE_MS, attempts: 4, failure: 'connect' })
      await queue(poller, { ageMs: 2 * MINUTE_MS })
      assert.equal((await streams().look()).length, 2)
      const both = test.db('receivers').whereIn('id', [pusher.receiverId, poller.receiverId])
      await both.clone().update({ enabled: false })
      assert.deepEqual(await streams().look(), [])
      await both.update({ enabled: true })
      assert.equal((await streams().look()).length, 2)
    })

    it('opens for each of many streams, behind whatever else they are owed', async () => {
      const many: SeedReceiver[] = []
      for (let count = 0; count < 5; count += 1) {
        many.push({ ...pusher, streamId: await seedStream(test.db, pusher.receiverId, 'push') })
      }
      for (const to of many) {
        await queue(to, { ageMs: 5 * MINUTE_MS, attempts: 1, failure: 'timeout' })
        for (let count = 0; count < 20; count += 1) await queue(to, { ageMs: MINUTE_MS })
      }
      assert.deepEqual(
        brief(await streams().look()),
        many.map(({ streamId }) => `stream_failing stream:${streamId}`).sort(),
      )
    })
  })

  describe('upstream_failing', () => {
    const upstream = async (fields: object) => {
      const id = await seedSource(test.db, `up-${randomUUID()}`)
      await test.db('upstream_streams').insert({
        transmitter_id: id,
        issuer: 'https://up.example',
        metadata_url: 'https://up.example/metadata',
        method: 'poll',
        events_requested: [],
        credentials: '{}',
        secret_wrapped: Buffer.alloc(1),
        phase: 'active',
        status: 'enabled',
        ...fields,
      })
      return id
    }
    const minutesAgo = (count: number) => new Date(ago(count * MINUTE_MS))
    const probe = () => createUpstreamProbe(test.db, MINUTE_MS)
    afterEach(() => test.db.raw('truncate upstream_streams cascade'))

    for (const [title, why, fields] of [
      ['paused', 'paused', { status: 'paused', status_reason: '<b>busy' }],
      ['disabled', 'disabled', { status: 'disabled' }],
      ['not trusted', 'stopped', { phase: 'stopped', last_error: '<b>another iss', last_error_of: 'trust' }],
      ['not made', 'setup', { phase: 'setup', last_error: '<b>answered 500', updated_at: minutesAgo(2) }],
      ['never polled', 'poll', { last_error: 'x', last_error_of: 'poll', updated_at: minutesAgo(2) }],
      ['not polled', 'poll', { last_error: 'x', last_error_of: 'poll', last_poll_at: minutesAgo(2) }],
    ] as const) {
      it(`opens when a stream at an upstream brings nothing (${title}), and ends when it does`, async () => {
        const id = await upstream(fields)
        const [condition, ...more] = await probe().look()
        assert.deepEqual(more, [])
        assert.deepEqual([condition?.object, condition?.detail.why], [`source:${id}`, why])
        assert.match(condition?.summary ?? '', /up-/)
        assert.ok(!JSON.stringify(condition).includes('<b>'), 'the words of the upstream stay out of it')
        await test.db('upstream_streams').update({
          phase: 'active',
          status: 'enabled',
          last_error: null,
          last_error_of: null,
        })
        assert.deepEqual(await probe().look(), [])
      })
    }

    it('stays closed for what fails for a moment, and for what is being left or switched off', async () => {
      await upstream({ last_error: 'timeout', last_error_of: 'poll', last_poll_at: minutesAgo(0) })
      await upstream({ phase: 'setup', last_error: 'answered 500' })
      await upstream({ last_error: 'timeout', last_error_of: 'poll' })
      await upstream({ phase: 'leaving', status: 'paused' })
      const off = await upstream({ status: 'paused' })
      await test.db('transmitters').where({ id: off }).update({ enabled: false })
      assert.deepEqual(await probe().look(), [])
    })
  })

  describe('delivery_lag', () => {
    it('opens when what nobody tried to send waits, and ends when it is sent', async () => {
      const probe = streams()
      await queue(pusher, { ageMs: MINUTE_MS, lane: 0 })
      await queue(pusher, { ageMs: 10_000, lane: 2 })
      assert.deepEqual(await lookTwice(probe, 29_000), [])
      monotonicMs += 1_000
      const found = await probe.look()
      assert.deepEqual(brief(found), ['delivery_lag lane:control'])
      assert.match(found[0]?.summary ?? '', /lane control waits to be sent for 30 s/)
      await test.db('delivery_queue').delete()
      assert.deepEqual(await probe.look(), [])
    })

    it('is not the pace of a receiver that takes SETs slowly: that is a condition of its stream', async () => {
      const probe = streams()
      for (let count = 0; count < 8; count += 1) await queue(pusher, { ageMs: 3 * MINUTE_MS - count * 1_000 })
      await probe.look()
      const takeOldest = () =>
        test.db.raw(
          'delete from delivery_queue where event_id = (select min(event_id::text)::uuid from delivery_queue)',
        )
      for (let count = 0; count < 5; count += 1) {
        await takeOldest()
        monotonicMs += 10_000
        assert.deepEqual(await probe.look(), [])
      }
      await takeOldest()
      monotonicMs += 10_000
      const [condition, ...more] = await probe.look()
      assert.deepEqual(more, [])
      assert.deepEqual([condition?.object, condition?.detail.why], [`stream:${pusher.streamId}`, 'slow'])
      assert.match(
        condition?.summary ?? '',
        /^pusher-.* takes SETs more slowly than they come: the oldest waits for 3 min\.$/,
      )
      monotonicMs += 30_000
      assert.deepEqual(brief(await probe.look()), ['delivery_lag lane:urgent'], 'when nothing more is sent')
    })

    it('is a lane that stands still while one that comes after it goes on, not the other way round', async () => {
      const probe = streams()
      for (const lane of [1, 2]) for (const ageMs of [50_000, 49_000]) await queue(pusher, { ageMs, lane })
      await probe.look()
      monotonicMs += 20_000
      await test.db.raw('delete from delivery_queue where lane = 2 and queued_at < ?', [
        new Date(ago(49_500)),
      ])
      assert.deepEqual(await probe.look(), [])
      monotonicMs += 10_000
      assert.deepEqual(brief(await probe.look()), ['delivery_lag lane:urgent'])
      await test.db.raw('delete from delivery_queue where lane = 1 and queued_at < ?', [
        new Date(ago(49_500)),
      ])
      monotonicMs += 25_000
      assert.deepEqual(await probe.look(), [])
    })

    it('is not judged by what was seen before another process led', async () => {
      const probe = streams()
      await queue(pusher, { ageMs: MINUTE_MS })
      await probe.look()
      monotonicMs += 40_000
      probe.forget?.()
      assert.deepEqual(await probe.look(), [])
      monotonicMs += 30_000
      assert.equal((await probe.look()).length, 1)
    })

    it('opens when what is accepted is not fanned out', async () => {
      inLogS = 31
      const found = await streams().look()
      assert.deepEqual(brief(found), ['delivery_lag lane:routine'])
      assert.deepEqual(found[0]?.detail, { lane: 'routine', not_fanned_out_s: 31, not_sent_s: 0 })
      inLogS = 29
      assert.deepEqual(await streams().look(), [])
    })

    it('is not what waits behind a receiver that fails, or for a poll, or while paused', async () => {
      await queue(pusher, { ageMs: 40_000, attempts: 2, failure: 'connect', lane: 0 })
      await queue(pusher, { ageMs: 2 * MINUTE_MS, lane: 1 })
      await queue(poller, { ageMs: 40_000 })
      const probe = streams()
      assert.deepEqual(await lookTwice(probe, 40_000), [])
      await test.db('delivery_queue').where({ lane: 0 }).delete()
      assert.deepEqual(brief(await lookTwice(probe, 40_000)), ['delivery_lag lane:urgent'])
      await setStatus(pusher.streamId, 'paused', 'receiver')
      assert.deepEqual(await lookTwice(probe, 40_000), [])
    })
  })

  describe('sets_parked', () => {
    it('opens once per stream with a count, and ends when all is settled', async () => {
      const probe = createParkedProbe(test.db)
      assert.deepEqual(await probe.look(), [])
      for (let count = 0; count < 3; count += 1) {
        await seedDelivery(test.db, pusher, { place: 'parked', acceptedAtMs: ago(MINUTE_MS) })
      }
      await seedDelivery(test.db, poller, { place: 'parked', acceptedAtMs: ago(MINUTE_MS) })
      for (const kind of ['event', 'record']) {
        await test.db('parked').insert({ id: randomUUID(), kind, code: 'unknown_type', reason: 'odd' })
      }
      const found = await probe.look()
      assert.deepEqual(
        brief(found),
        [
          'sets_parked parked:events',
          'sets_parked parked:records',
          `sets_parked stream:${poller.streamId}`,
          `sets_parked stream:${pusher.streamId}`,
        ].sort(),
      )
      const own = found.find(({ object }) => object === `stream:${pusher.streamId}`)
      assert.equal(own?.detail.count, 3)
      assert.deepEqual(own?.detail.codes, ['ERR_REJECTED'])
      assert.match(own?.summary ?? '', /^3 parked: SETs that pusher-.* does not take\.$/)
      assert.ok(
        !JSON.stringify(found).includes('refused it'),
        'the words of a receiver stay where they can be erased',
      )
      await test.db('parked').update({ resolved_at: new Date() })
      assert.deepEqual(await probe.look(), [])
    })
  })

  describe('certificate_ending', () => {
    const origin = 'https://gw.example:8443'
    const endIn = (streamId: string, days: number) =>
      test.db.raw(
        `insert into stream_tls (stream_id, origin, certificate, certificate_ends_at, key_wrapped)
         values (?, ?, 'pem', clock_timestamp() + make_interval(days => ?), 'sealed')
         on conflict (stream_id) do update set certificate_ends_at = excluded.certificate_ends_at`,
        [streamId, origin, days],
      )
    const ofStream = (streamId: string) => test.db('streams').where({ stream_id: streamId })
    const told = async () => brief(await createCertificateProbe(test.db).look())

    beforeEach(() => ofStream(pusher.streamId).update({ endpoint_url: 'https://GW.example:8443/events' }))

    it('opens two weeks before a client certificate ends, and ends when it is replaced', async () => {
      await endIn(pusher.streamId, 15)
      assert.deepEqual(await told(), [])
      await endIn(pusher.streamId, 13)
      const [condition, ...more] = await createCertificateProbe(test.db).look()
      assert.deepEqual(more, [])
      assert.equal(condition?.object, `stream:${pusher.streamId}`)
      assert.match(condition?.summary ?? '', /^The client certificate for pusher-.* ends at 20.*Z\.$/)
      const { ends_at: endsAt, receiver: _name, ...detail } = condition?.detail ?? {}
      assert.deepEqual(detail, { stream_id: pusher.streamId, origin })
      assert.ok(Math.abs(Date.parse(String(endsAt)) - Date.now() - 13 * 86_400_000) < MINUTE_MS)
      await endIn(pusher.streamId, 30)
      assert.deepEqual(await told(), [])
    })

    it('says of one that has ended that it has', async () => {
      await endIn(pusher.streamId, -1)
      const [condition] = await createCertificateProbe(test.db).look()
      assert.match(condition?.summary ?? '', / ended at 20.*Z\.$/)
    })

    it('stays closed while the certificate is shown to nobody', async () => {
      const key = `certificate_ending stream:${pusher.streamId}`
      await endIn(pusher.streamId, 1)
      const unused: [object, object][] = [
        [{ endpoint_url: 'https://else.example/events' }, { endpoint_url: `${origin}/events` }],
        [{ status: 'disabled' }, { status: 'paused' }],
        [
          { delivery_method: 'poll', endpoint_url: null },
          { delivery_method: 'push', endpoint_url: origin },
        ],
      ]
      for (const [unseen, seen] of unused) {
        await ofStream(pusher.streamId).update(unseen)
        assert.deepEqual(await told(), [], JSON.stringify(unseen))
        await ofStream(pusher.streamId).update(seen)
        assert.deepEqual(await told(), [key], JSON.stringify(seen))
      }
      await test.db('receivers').where({ id: pusher.receiverId }).update({ enabled: false })
      assert.deepEqual(await told(), [])
    })
  })

  describe('objective_missed', () => {
    const OBJECTIVE_MS = 10_000
    const WINDOW_MS = 5 * MINUTE_MS
    let nowMs = 0
    let unreadS = 0
    let unreadLane: Lane | undefined
    beforeEach(() => {
      nowMs = Date.now()
      unreadS = 0
      unreadLane = undefined
    })
    const objectives = (windowMs = WINDOW_MS) => {
      const missed = createMissedObjectiveReadModel(test.db)
      return createMissedObjectivesProbe({
        count: (look) => missed.count(look, OBJECTIVE_MS),
        lag: async () =>
          LANES.map((lane) => ({ lane, oldestAgeS: (unreadLane ?? lane) === lane ? unreadS : 0 })),
        objectiveMs: OBJECTIVE_MS,
        windowMs,
        clock: { now: () => nowMs, monotonicMs: () => nowMs },
      })
    }
    const accepted = (fields: object, to = poller) =>
      seedDelivery(test.db, to, { acceptedAtMs: nowMs - MINUTE_MS, expects: 1, ...fields })

    it('opens for what came late or not at all, and ends after a window without', async () => {
      const probe = objectives()
      await accepted({ receivedMs: OBJECTIVE_MS - 1 })
      await accepted({ receivedMs: OBJECTIVE_MS + 1 })
      await accepted({ place: 'queue' })
      await accepted({ place: 'parked' }, pusher)
      const found = await probe.look()
      assert.deepEqual(
        brief(found),
        [poller, pusher].map(({ streamId }) => `objective_missed stream:${streamId}`).sort(),
      )
      const own = found.find(({ object }) => object === `stream:${poller.streamId}`)
      assert.equal(own?.detail.count, 2)
      assert.match(own?.summary ?? '', /^2 revocations were not received at poller-.* within 10 s\.$/)
      nowMs += WINDOW_MS - 1
      assert.equal((await probe.look()).length, 2)
      nowMs += 1
      assert.deepEqual(await probe.look(), [])
    })

    it('measures a point by applied where it reports that', async () => {
      const inTime = await accepted({ expects: 3, receivedMs: 20_000 })
      await seedReport(test.db, inTime, { status: 'applied', atMs: nowMs - MINUTE_MS + 5_000 })
      assert.deepEqual(await objectives().look(), [])
      const late = await accepted({ expects: 3 })
      await seedReport(test.db, late, { status: 'applied', atMs: nowMs - MINUTE_MS + 11_000 })
      const [condition] = await objectives().look()
      assert.equal(condition?.detail.stage, 'applied')
      assert.equal(condition?.detail.count, 1)
    })

    it('counts revocations only, and not what the receiver held, or what was overtaken', async () => {
      const late = { receivedMs: MINUTE_MS }
      await accepted({ outcome: 'superseded' })
      await accepted({ outcome: 'deleted' })
      const neutral = await accepted({ ...late, type: CREDENTIAL_CHANGE })
      await test.db('deliveries').where({ event_id: neutral.eventId }).update({ effect: 'neutral' })
      const parked = await accepted({ place: 'parked' })
      await test.db.raw(
        `update parked set delivery = delivery || '{"effect": "loosens"}' where event_id = ?`,
        [parked.eventId],
      )
      assert.deepEqual(await objectives().look(), [])
      await accepted(late)
      assert.equal((await objectives().look()).length, 1)
    })

    it('looks at each revocation once its time is over, and once only', async () => {
      const probe = objectives()
      await probe.look()
      await accepted({ acceptedAtMs: nowMs - OBJECTIVE_MS, place: 'queue' })
      assert.deepEqual(await probe.look(), [], 'a report may be on its way')
      nowMs += 3_000
      assert.equal((await probe.look())[0]?.detail.count, 1)
      nowMs += 3_000
      assert.equal((await probe.look())[0]?.detail.count, 1)
    })

    it('waits for what is not fanned out yet, and ends nothing while it catches up', async () => {
      const probe = objectives()
      await probe.look()
      nowMs += 20 * MINUTE_MS
      unreadS = 21 * 60
      assert.deepEqual(await probe.look(), [])
      await accepted({ acceptedAtMs: nowMs - 15 * MINUTE_MS, receivedMs: 14 * MINUTE_MS })
      assert.deepEqual(await probe.look(), [])
      unreadS = 0
      await assert.rejects(probe.look(), /still being counted/)
      assert.equal((await probe.look())[0]?.detail.count, 1)
    })

    it('ends nothing while fan-out stands still, however long, and a window after it goes on', async () => {
      const probe = objectives()
      await accepted({ receivedMs: MINUTE_MS })
      assert.equal((await probe.look()).length, 1)
      for (let minute = 1; minute <= 30; minute += 1) {
        nowMs += MINUTE_MS
        unreadS = minute * 60
        assert.equal((await probe.look()).length, 1, `after ${minute} min`)
      }
      unreadS = 0
      nowMs += 3_000
      // Caught up with in steps.
      for (let step = 0; step < 5; step += 1) await probe.look().catch(() => {})
      assert.equal((await probe.look()).length, 1)
      nowMs += WINDOW_MS
      assert.deepEqual(await probe.look(), [])
    })

    it('goes on to look at the other lanes while one stands still', async () => {
      const probe = objectives()
      await probe.look()
      unreadLane = 'routine'
      for (let minute = 1; minute <= 5; minute += 1) {
        nowMs += MINUTE_MS
        unreadS = minute * 60
        await probe.look()
      }
      for (const lane of [1, 2]) await accepted({ acceptedAtMs: nowMs - 5_000, receivedMs: 30_000, lane })
      nowMs += MINUTE_MS
      assert.equal((await probe.look())[0]?.detail.count, 1)
      unreadS = 0
      assert.equal((await probe.look())[0]?.detail.count, 2, 'each is counted once it can be')
    })

    it('tells nothing again that was over before the process lost its lease', async () => {
      const probe = objectives()
      await probe.look()
      await accepted({ acceptedAtMs: nowMs + MINUTE_MS, place: 'queue' })
      probe.forget?.()
      // Another process has told of it, and that it was over.
      nowMs += MINUTE_MS + WINDOW_MS + OBJECTIVE_MS + 5_000
      assert.deepEqual(await probe.look(), [])
    })

    it('reads of the queue and of what is parked no more than what a look is about', async () => {
      const first = await accepted({ acceptedAtMs: nowMs - 3 * 3_600_000, place: 'queue', lane: 2 })
      const held = await accepted({ acceptedAtMs: nowMs - 3 * 3_600_000, place: 'parked', lane: 2 }, pusher)
      await test.db.raw(
        `insert into delivery_queue select (jsonb_populate_record(q, jsonb_build_object(
           'event_id', lpad(to_hex((extract(epoch from q.accepted_at) * 1000)::bigint + n * 300), 12, '0') || '70008000000000000000',
           'accepted_at', q.accepted_at + n * interval '300 milliseconds'))).*
         from delivery_queue q, generate_series(1, 40000) n where event_id = ?`,
        [first.eventId],
      )
      await test.db.raw(
        `insert into parked (id, kind, code, reason, lane, stream_id, event_id, type, txn, delivery)
         select gen_random_uuid(), kind, code, reason, lane, stream_id,
           (lpad(to_hex((extract(epoch from now()) * 1000)::bigint - 10800000 + n * 1000), 12, '0') || '70008000000000000000')::uuid,
           type, txn, delivery || jsonb_build_object('accepted_at', now() - interval '3 hours' + n * interval '1 second')
         from parked p, generate_series(1, 12000) n where event_id = ?`,
        [held.eventId],
      )
      const scope = {
        stage: 'received' as const,
        ranges: [{ fromMs: nowMs - MINUTE_MS, toMs: nowMs - MINUTE_MS / 2, lane: 'routine' as const }],
        tightensOnly: true,
        deadlineMs: OBJECTIVE_MS,
        nowMs,
      }
      const explained = await test.db.transaction(async (trx) => {
        await trx.raw('set local enable_seqscan = off')
        return runSql<{ 'QUERY PLAN': { Plan: PlanNode }[] }>(
          trx,
          sql`explain (analyze, format json) with ${samplesSql(scope)} select * from samples`,
        )
      })
      const plan = explained[0]?.['QUERY PLAN'][0]?.Plan as PlanNode
      assert.equal(plan['Actual Rows'], 100 + 30)
      assert.ok(
        rowsRead(plan, 'delivery_queue') < 200,
        `${rowsRead(plan, 'delivery_queue')} rows of the queue`,
      )
      assert.ok(rowsRead(plan, 'parked') < 100, `${rowsRead(plan, 'parked')} rows of what is parked`)
    })
  })

  describe('clock_skew', () => {
    let nowMs = 0
    let unreadS = 0
    beforeEach(() => {
      nowMs = Date.now()
      unreadS = 0
    })
    const sourceClocks = () =>
      createSourceClockProbe(test.db, {
        skewMs: 2_000,
        lag: async () => [{ oldestAgeS: unreadS }],
        clock: { now: () => nowMs },
      })
    const told = async (sourceId: string, aheadMs: number, agoMs = 5_000) => {
      const acceptedAtMs = nowMs - agoMs
      await seedDelivery(test.db, poller, {
        acceptedAtMs,
        eventTimestampMs: acceptedAtMs + aheadMs,
        sourceId,
      })
    }

    it('opens for a source whose events come from the future, and ends when they do no more', async () => {
      const probe = sourceClocks()
      const source = await seedSource(test.db, `idp-${randomUUID()}`)
      await told(source, 1_900)
      assert.deepEqual(await probe.look(), [])
      nowMs += 10_000
      await told(source, 600_000)
      const [condition] = await probe.look()
      assert.equal(condition?.object, `source:${source}`)
      assert.match(condition?.summary ?? '', /^The clock of idp-.* is 10 min ahead\.$/)
      for (let minute = 1; minute < 5; minute += 1) {
        nowMs += MINUTE_MS
        await told(source, 0)
        assert.equal((await probe.look()).length, 1, `after ${minute} min`)
      }
      nowMs += MINUTE_MS
      assert.deepEqual(await probe.look(), [])
    })

    it('sees the one event of a quiet source among those of a loud one', async () => {
      const [quiet, loud] = [await seedSource(test.db, 'quiet'), await seedSource(test.db, 'loud')]
      await told(quiet, 600_000, 240_000)
      await test.db.raw(
        `insert into events select (jsonb_populate_record(e, jsonb_build_object('event_id', gen_random_uuid(),
           'source_id', ?::uuid, 'event_timestamp', e.accepted_at, 'accepted_at', e.accepted_at + n * interval '50 milliseconds'))).*
         from events e, generate_series(1, 3000) n where source_id = ?`,
        [loud, quiet],
      )
      assert.deepEqual(brief(await sourceClocks().look()), [`clock_skew source:${quiet}`])
    })

    it('waits for what is not stored yet, and looks back over the window once another process has led', async () => {
      const probe = sourceClocks()
      await probe.look()
      unreadS = 60
      nowMs += MINUTE_MS
      await probe.look()
      const source = await seedSource(test.db, `idp-${randomUUID()}`)
      await told(source, 600_000, 50_000)
      unreadS = 0
      assert.equal((await probe.look()).length, 1)
      probe.forget?.()
      assert.equal((await probe.look()).length, 1)
      await test.db.raw('truncate events cascade')
      probe.forget?.()
      assert.deepEqual(await probe.look(), [], 'what it saw before is no longer its')
    })

    it("is told by a process of its machine's own clock", () => {
      let machineMs = 0
      const condition = createClockCondition({
        clock: { now: () => 100_000 },
        machineNow: () => machineMs,
        host: 'node-1',
        skewMs: 2_000,
      })
      machineMs = 101_999
      assert.equal(condition(), undefined)
      machineMs = 102_000
      assert.equal(condition()?.object, 'clock:node-1')
      machineMs = 90_000
      assert.equal(condition()?.summary, "The clock of node-1 is 10 s behind the database's.")
    })
  })

  describe('conflicting_repeat', () => {
    it('opens for a source that used a jti for another content, with a count, and ends when it is quiet', async () => {
      const probe = createConflictProbe(test.db)
      const source = await seedSource(test.db, `idp-${randomUUID()}`)
      const note = (lane: Lane, count: number) =>
        test.db.transaction((trx) => conflictRepository.note(trx, lane, Array(count).fill(source)))
      assert.deepEqual(await probe.look(), [])
      await note('urgent', 2)
      await note('urgent', 1)
      await note('control', 1)
      const [condition, ...more] = await probe.look()
      assert.deepEqual(more, [])
      assert.deepEqual([condition?.object, condition?.detail.count], [`source:${source}`, 4])
      assert.match(condition?.summary ?? '', /^idp-.* used the jti of an earlier SET for another content\.$/)
      await test.db.raw("update conflicting_repeats set last_at = now() - interval '16 minutes'")
      assert.deepEqual(await probe.look(), [])
      await test.db.raw("update conflicting_repeats set last_at = now() - interval '61 minutes'")
      await note('urgent', 1)
      assert.equal((await probe.look())[0]?.detail.count, 1, 'counted anew')
    })

    it('leaves no row of what was quiet for a day, such as a source that is gone', async () => {
      const [gone, active] = [randomUUID(), await seedSource(test.db, `idp-${randomUUID()}`)]
      for (const source of [gone, active]) {
        await test.db.transaction((trx) => conflictRepository.note(trx, 'urgent', [source]))
      }
      const left = async () => {
        await conflictRepository.forgetQuiet(test.db)
        return test.db('conflicting_repeats').pluck('source_id')
      }
      await test.db.raw("update conflicting_repeats set last_at = now() - interval '23 hours'")
      assert.deepEqual((await left()).sort(), [gone, active].sort())
      await test.db.raw(
        "update conflicting_repeats set last_at = now() - interval '25 hours' where source_id = ?",
        [gone],
      )
      assert.deepEqual(await left(), [active])
    })
  })

  describe('keys_unavailable', () => {
    it('is told by a process that needs keys and cannot fetch them for the set time', () => {
      let nowMs = 60_000
      const keys = { id: 'tx-1', sinceMonotonicMs: 1_000, lastForMs: 86_000_000 }
      const condition = createKeysCondition({
        failing: () => [
          { ...keys, name: 'idp' },
          { ...keys, id: 'https://as.example', name: undefined, lastForMs: undefined },
        ],
        clock: { monotonicMs: () => nowMs },
        afterMs: MINUTE_MS,
      })
      assert.deepEqual(condition(), [])
      nowMs = 61_000
      const [first, second] = condition()
      assert.equal(first?.object, 'source:tx-1')
      assert.equal(
        first?.summary,
        'The keys of idp cannot be fetched for 60 s; those that are known count for 24 h more.',
      )
      assert.equal(second?.object, 'issuer:https://as.example')
      assert.match(second?.summary ?? '', /none is known: what it signs waits\.$/)
    })
  })

  describe('broker_fallback', () => {
    it('is told by a process that goes around Kafka for the set time', () => {
      let nowMs = 50_000
      let detour: { sinceMonotonicMs: number; reason: string } | undefined
      const condition = createFallbackCondition({
        detour: () => detour,
        clock: { monotonicMs: () => nowMs },
        afterMs: 10_000,
      })
      assert.equal(condition(), undefined)
      detour = { sinceMonotonicMs: 45_000, reason: 'no answer' }
      assert.equal(condition(), undefined)
      nowMs = 55_000
      assert.deepEqual(condition()?.detail, { for_s: 10, reason: 'no answer' })
      detour = undefined
      assert.equal(condition(), undefined)
    })

    it('is read from what living processes report, once for all of them', async () => {
      const probe = createReportsProbe(test.db, ['broker_fallback'])
      let around = true
      const report = () => ({
        kind: 'broker_fallback' as const,
        object: 'log:kafka',
        summary: 'around',
        detail: { for_s: 12 },
      })
      const reporters = [randomUUID(), randomUUID()].map((processId) =>
        createAlertReporter({
          db: test.db,
          processId,
          conditions: [() => (around ? report() : undefined)],
          logger: silentLogger,
          everyMs: 20,
        }),
      )
      for (const reporter of reporters) await reporter.start()
      await waitUntil('both have said so', async () => (await probe.look())[0]?.detail.processes === 2)
      assert.deepEqual(await probe.look(), [{ ...report(), detail: { for_s: 12, processes: 2 } }])
      around = false
      await waitUntil('both take it back', async () => (await probe.look()).length === 0)
      for (const reporter of reporters) await reporter.stop()
    })

    it('is over when the process that said so is gone', async () => {
      const probe = createReportsProbe(test.db, ['broker_fallback'])
      const processId = randomUUID()
      await reportRepository.replace(test.db, processId, [
        { kind: 'broker_fallback', object: 'log:kafka', summary: 'around', detail: {} },
      ])
      assert.equal((await probe.look()).length, 1)
      await test.db.raw("update alert_reports set reported_at = now() - interval '21 seconds'")
      assert.deepEqual(await probe.look(), [])
      await test.db.raw("update alert_reports set reported_at = now() - interval '2 hours'")
      await probe.look()
      assert.deepEqual(await test.db('alert_reports').select('*'), [])
    })
  })
})
