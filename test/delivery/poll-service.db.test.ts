import assert from 'node:assert/strict'
import { createMinter } from '../../src/delivery/minter.js'
import type { ReceivedDelivery } from '../../src/delivery/open-delivery.js'
import {
  createPollService,
  type PollAnswer,
  type PollRequest,
  type PollService,
} from '../../src/delivery/poll-service.js'
import { createContentOpener } from '../../src/delivery/prepare-event.js'
import { createStreamTargets } from '../../src/delivery/stream-target-repository.js'
import { NotFound } from '../../src/kernel/errors.js'
import { newId } from '../../src/kernel/ids.js'
import { type LogFields, silentLogger } from '../../src/kernel/logger.js'
import { createMetrics, type Metrics } from '../../src/kernel/metrics.js'
import { CAEP, SSF } from '../../src/secevent/event-types.js'
import type { SecurityEventInput } from '../../src/secevent/security-event.js'
import { shardOf } from '../../src/streams/stream.js'
import { waitUntil } from '../support/wait.js'
import { type DeliveryHarness, startDelivery } from './delivery-harness.js'

const compliance = (status: 'compliant' | 'not-compliant') => ({
  type: CAEP.deviceComplianceChange,
  claims: { previous_status: status === 'compliant' ? 'not-compliant' : 'compliant', current_status: status },
})
const subjectOf = (name: string) => ({ subject: { format: 'email' as const, email: `${name}@example.com` } })

/** Longer than any test may take: a poll that is held this long has not been woken. */
const LONG_MS = 30_000
/** The service looks for itself after two seconds; what comes sooner was a wake. */
const SOON = { deadlineMs: 1_500 }
const NOW: PollRequest = { returnImmediately: true }

describe('poll service', () => {
  let hub: DeliveryHarness
  let receiverId: string
  let streamId: string
  let polls: PollService
  let metrics: Metrics
  let nowMs: number
  /** How often the service asked what time it is: at the start of a poll twice, and before each wait. */
  let reads: number
  let touched: string[]
  let received: ReceivedDelivery[]
  let warnings: [string, LogFields | undefined][]
  /** Events whose content was opened. */
  let opened: string[]

  before(async () => {
    hub = await startDelivery()
  })
  after(() => hub.close())
  beforeEach(async () => {
    receiverId = await hub.addReceiver()
    streamId = await hub.addStream({ receiverId })
    nowMs = 1_000_000
    reads = 0
    touched = []
    received = []
    warnings = []
    opened = []
    open(LONG_MS)
  })
  afterEach(() => polls.drain())

  function open(holdMs: number): void {
    metrics = createMetrics()
    const openContent = createContentOpener(hub.keys)
    const targets = createStreamTargets(hub.db, (sealed, context) => hub.keys.open(sealed, context))
    polls = createPollService({
      db: hub.db,
      targets,
      minter: createMinter({
        issuer: 'http://127.0.0.1:8080',
        signer: (alg) => hub.keys.setSigner(alg),
        jtis: hub.keys.jtis,
      }),
      jtis: hub.keys.jtis,
      openContent(row) {
        opened.push(row.delivery.eventId)
        return openContent(row)
      },
      clock: {
        now: () => Date.now(),
        monotonicMs() {
          reads += 1
          return nowMs
        },
      },
      logger: { ...silentLogger, warn: (event, fields) => void warnings.push([event, fields]) },
      metrics,
      holdMs,
      touchStream: async (id) => void touched.push(id),
      received: (delivery) => void received.push(delivery),
    })
  }

  interface CallChange {
    aborted?: AbortSignal
    checkAccess?: () => Promise<void>
  }
  const call = (request: PollRequest, change: CallChange = {}) =>
    polls.poll(receiverId, streamId, request, {
      aborted: new AbortController().signal,
      checkAccess: async () => {},
      ...change,
    })
  const jtisOf = ({ sets }: PollAnswer) => Object.keys(sets)
  const jti = (event: { eventId: string }) => hub.keys.jtis.mint(event.eventId, receiverId)
  const counted = async (result: string) => {
    const pattern = new RegExp(`^firebreak_poll_sets_total\\{result="${result}"\\} (\\d+)$`, 'm')
    return Number(pattern.exec(await metrics.render())?.[1] ?? 0)
  }
  /** To this stream alone, though others take its type. */
  const queue = async (...inputs: Partial<SecurityEventInput>[]) => {
    const events = inputs.map((input) => hub.event({ targetStreamId: streamId, ...input }))
    await hub.fanOut(events)
    return events
  }
  const held = (change: CallChange = {}) => {
    const before = reads
    const answer = call({}, change)
    answer.catch(() => {})
    return { answer, isHeld: () => waitUntil('the first look', () => reads === before + 3) }
  }

  describe('how much an answer holds', () => {
    it('is a hundred SETs where the request names no number, and says that there are more', async () => {
      const subjects = Array.from({ length: 101 }, (_, index) => subjectOf(`many-${index}`))
      await queue(...subjects)
      const first = await call(NOW)
      assert.deepEqual([jtisOf(first).length, first.moreAvailable], [100, true])
      const rest = await call({ ...NOW, ack: jtisOf(first) })
      assert.deepEqual([jtisOf(rest).length, rest.moreAvailable], [1, false])
    })

    it('is five hundred SETs at most, however many are asked for', async () => {
      await queue(...Array.from({ length: 501 }, (_, index) => subjectOf(`more-${index}`)))
      const answer = await call({ ...NOW, maxEvents: 1e9 })
      assert.deepEqual([jtisOf(answer).length, answer.moreAvailable], [500, true])
    })

    it('is all there is when as many are asked for, with no word of more', async () => {
      const events = await queue(subjectOf('a'), subjectOf('b'))
      const answer = await call({ ...NOW, maxEvents: 2 })
      assert.deepEqual(jtisOf(answer), events.map(jti))
      assert.equal(answer.moreAvailable, false)
    })

    it('is about a megabyte at most, but one SET at least', async () => {
      const reason_admin = { en: 'x'.repeat(60_000) }
      await queue(
        ...Array.from({ length: 20 }, (_, n) => ({ ...subjectOf(`b${n}`), claims: { reason_admin } })),
      )
      const first = await call(NOW)
      const count = jtisOf(first).length
      assert.ok(count >= 15 && count < 20, String(count))
      assert.equal(first.moreAvailable, true)
      const second = await call({ ...NOW, ack: jtisOf(first) })
      assert.deepEqual([jtisOf(second).length, second.moreAvailable], [20 - count, false])
    })

    it('is nothing for maxEvents 0, which acknowledges all the same', async () => {
      const [event] = await queue(subjectOf('zero'))
      assert.deepEqual(jtisOf(await call(NOW)), [jti(event as { eventId: string })])
      const answer = await call({ maxEvents: 0, ack: [jti(event as { eventId: string })] })
      assert.deepEqual(answer, { sets: {}, moreAvailable: false })
      assert.deepEqual(jtisOf(await call(NOW)), [])
    })
  })

  describe('what it settles', () => {
    it('tells of the SETs that were acknowledged, once, and counts them', async () => {
      const [event] = await queue(subjectOf('acked'))
      const ack = jtisOf(await call(NOW))
      await call({ ...NOW, ack })
      await call({ ...NOW, ack })
      assert.equal(received.length, 1)
      const { acceptedAtMs, ...rest } = received[0] as ReceivedDelivery
      assert.deepEqual(rest, { streamId, type: CAEP.sessionRevoked })
      assert.ok(Math.abs(acceptedAtMs - (event?.acceptedAtMs ?? 0)) < 1)
      assert.equal(await counted('acknowledged'), 1)
      assert.equal(await counted('handed_out'), 1)
    })

    it('takes no ack of a SET that was never handed out', async () => {
      const [event] = await queue(subjectOf('early'))
      const ack = [jti(event as { eventId: string })]
      const answer = await call({ ...NOW, ack })
      assert.deepEqual(jtisOf(answer), ack)
      assert.equal(received.length, 0)
    })

    it('parks what is refused with the words cut to 2,000 characters, and warns of it by jti', async () => {
      await queue(subjectOf('refused'))
      const [name = ''] = jtisOf(await call(NOW))
      const setErrs = {
        [name]: { err: 'invalid_key', description: 'x'.repeat(2_001) },
        stranger: { err: 'invalid_key' },
      }
      await call({ ...NOW, setErrs })
      const [parked] = await hub.rows<{ reason: string }>('select reason from parked where stream_id = ?', [
        streamId,
      ])
      assert.equal(parked?.reason, `invalid_key: ${'x'.repeat(2_000)}`)
      assert.deepEqual(warnings, [['set.refused', { stream_id: streamId, jtis: [name] }]])
      assert.equal(await counted('refused'), 1)
      assert.equal(await counted('acknowledged'), 0)
    })

    it('parks what is refused without words', async () => {
      await queue(subjectOf('wordless'))
      const [name = ''] = jtisOf(await call(NOW))
      await call({ ...NOW, setErrs: { [name]: { err: 'invalid_key' } } })
      const [parked] = await hub.rows<{ reason: string }>('select reason from parked where stream_id = ?', [
        streamId,
      ])
      assert.equal(parked?.reason, 'invalid_key: ')
    })

    it('says nothing where the errors name nothing of the receiver’s', async () => {
      await call({ ...NOW, setErrs: { stranger: { err: 'invalid_key' } }, ack: ['stranger'] })
      assert.deepEqual(warnings, [])
    })

    it('notes when a SET was first handed out, and not again', async () => {
      await queue(subjectOf('first'))
      await call(NOW)
      const read = async () =>
        hub.rows<{ delivered_at: Date; attempts: number }>(
          'select delivered_at, attempts from delivery_queue where stream_id = ?',
          [streamId],
        )
      const [before] = await read()
      assert.equal(before?.attempts, 1)
      await call(NOW)
      assert.deepEqual(await read(), [before])
      assert.equal(await counted('handed_out'), 2)
    })

    it('takes the ack of a SET that an endpoint never answered before the stream was polled', async () => {
      const [event] = await queue(subjectOf('switched'))
      await hub.rows(
        `update delivery_queue set attempts = 3, last_failure = 'timeout: no answer' where stream_id = ?`,
        [streamId],
      )
      const ack = jtisOf(await call(NOW))
      assert.deepEqual(ack, [jti(event as { eventId: string })])
      assert.deepEqual(jtisOf(await call({ ...NOW, ack })), [])
      const rows = await hub.rows('select outcome, attempts from deliveries where stream_id = ?', [streamId])
      assert.deepEqual(rows, [{ outcome: 'received', attempts: 4 }])
    })

    it('tells the stream that its receiver was heard of, once a minute', async () => {
      await call({ maxEvents: 0 })
      await call({ maxEvents: 0 })
      nowMs += 59_999
      await call({ maxEvents: 0 })
      assert.deepEqual(touched, [streamId])
      nowMs += 1
      await call({ maxEvents: 0 })
      assert.deepEqual(touched, [streamId, streamId])
    })
  })

  describe('what it leaves out', () => {
    it('is an all-clear while its subject’s revocation is not acknowledged, with what is newer, and nobody else’s', async () => {
      const [tight, , , other] = await queue(
        { ...compliance('not-compliant'), ...subjectOf('ann') },
        { ...compliance('compliant'), ...subjectOf('ann') },
        { type: CAEP.sessionEstablished, ...subjectOf('ann') },
        { ...compliance('compliant'), ...subjectOf('bob') },
      )
      const answer = await call(NOW)
      const names = [tight, other].map((event) => jti(event as { eventId: string }))
      assert.deepEqual(jtisOf(answer).sort(), names.sort())
      assert.equal(answer.moreAvailable, false)
    })

    it('is finished in silence when it was overtaken, and hides nothing behind it', async () => {
      const stale = ['a', 'b', 'c'].map((name) =>
        hub.event({ targetStreamId: streamId, ...compliance('compliant'), ...subjectOf(`stale-${name}`) }),
      )
      await queue(
        ...['a', 'b', 'c'].map((name) => ({ ...compliance('not-compliant'), ...subjectOf(`stale-${name}`) })),
      )
      await call({ ...NOW, ack: jtisOf(await call(NOW)) })
      await hub.fanOut(stale)
      const [fit] = await queue({ type: CAEP.sessionEstablished, ...subjectOf('fit') })
      const answer = await call({ ...NOW, maxEvents: 1 })
      assert.deepEqual(jtisOf(answer), [jti(fit as { eventId: string })])
      assert.deepEqual(warnings, [])
      assert.equal(await counted('discarded'), 0)
      const rows = await hub.rows('select 1 from deliveries where stream_id = ? and outcome = ?', [
        streamId,
        'superseded',
      ])
      assert.equal(rows.length, 3)
    })

    it('is discarded with a warning when the receiver may no longer have it', async () => {
      const event = hub.event(subjectOf('ungranted'))
      await hub.fanOut([event])
      await hub.rows('update receivers set grant_event_types = ? where id = ?', [
        [CAEP.deviceComplianceChange],
        receiverId,
      ])
      assert.deepEqual(await call(NOW), { sets: {}, moreAvailable: false })
      const reason = 'the receiver is no longer granted this event'
      const fields = { stream_id: streamId, event_ids: [event.eventId], reason }
      assert.deepEqual(warnings, [['set.discarded', fields]])
      assert.equal(await counted('discarded'), 1)
      const rows = await hub.rows('select outcome, failure from deliveries where stream_id = ?', [streamId])
      assert.deepEqual(rows, [{ outcome: 'discarded', failure: reason }])
    })

    it('is discarded, each with its reason, when the receiver’s profile has no form for it', async () => {
      receiverId = await hub.addReceiver({ profile: 'caep-interop' })
      streamId = await hub.addStream({ receiverId })
      const opaque = { subject: { format: 'opaque' as const, id: 'x' } }
      const [good] = await queue(
        { ...subjectOf('form'), claims: { reason_admin: { en: 'x' } } },
        opaque,
        opaque,
      )
      assert.deepEqual(jtisOf(await call(NOW)), [jti(good as { eventId: string })])
      assert.equal(await counted('discarded'), 2)
      assert.equal(warnings.length, 1)
      const fields = warnings[0]?.[1] as { event_ids: string[]; reason: string }
      assert.equal(fields.event_ids.length, 2)
      const rows = await hub.rows('select outcome, failure from deliveries where stream_id = ?', [streamId])
      assert.deepEqual(rows, Array(2).fill({ outcome: 'discarded', failure: fields.reason }))
      assert.match(fields.reason, /subject/)
    })
  })

  describe('what it opens', () => {
    const unreadable = ({ eventId }: { eventId: string }) =>
      hub.rows('update events set content = ? where event_id = ?', [Buffer.alloc(200, 7), eventId])
    const parked = async () =>
      (
        await hub.rows<{ event_id: string }>(
          `select event_id from parked where stream_id = ? and code = 'unreadable' order by event_id`,
          [streamId],
        )
      ).map((row) => row.event_id)
    type Queued = Awaited<ReturnType<typeof queue>>[number]

    it('is the content of what it hands out, and no other', async () => {
      const txns = Array.from({ length: 60 }, (_, n) => ({ ...subjectOf(`o${n}`), txn: `txn ${n}` }))
      const events = await queue(...txns)
      const answer = await call({ ...NOW, maxEvents: 2 })
      assert.deepEqual([jtisOf(answer).length, answer.moreAvailable], [2, true])
      const handedOut = events.filter((event) => answer.sets[jti(event)])
      assert.deepEqual(
        opened.sort(),
        handedOut.map(({ eventId }) => eventId),
      )
    })

    it('is not what an answer has no room for', async () => {
      const reason_admin = { en: 'x'.repeat(60_000) }
      await queue(
        ...Array.from({ length: 20 }, (_, n) => ({ ...subjectOf(`r${n}`), claims: { reason_admin } })),
      )
      const answer = await call(NOW)
      assert.equal(opened.length, jtisOf(answer).length)
      assert.equal(answer.moreAvailable, true)
    })

    it('goes on to the next for each that is unfit, and says that there are more', async () => {
      // Of one cause, so that they come in the order of their age.
      const cause = { sourceId: newId(), txn: 'one' }
      const events = (await queue(...[1, 2, 3, 4].map((n) => ({ ...subjectOf(`n${n}`), ...cause })))) as [
        Queued,
        Queued,
        Queued,
        Queued,
      ]
      for (const event of events.slice(0, 2)) await unreadable(event)
      const answer = await call({ ...NOW, maxEvents: 1 })
      assert.deepEqual(jtisOf(answer), [jti(events[2])])
      assert.equal(answer.moreAvailable, true)
      const [first, second, third] = events.map(({ eventId }) => eventId)
      assert.deepEqual(await parked(), [first, second])
      assert.deepEqual(opened.sort(), [first, second, third])
    })

    it('goes on behind a page of nothing but unfit ones', async () => {
      // Of one cause, so that the first look does not reach the last.
      const cause = { sourceId: newId(), txn: 'one' }
      const events = await queue(
        ...Array.from({ length: 8 }, (_, n) => ({ ...subjectOf(`p${n}`), ...cause })),
      )
      for (const event of events.slice(0, 7)) await unreadable(event)
      const answer = await call({ ...NOW, maxEvents: 1 })
      assert.deepEqual(jtisOf(answer), [jti(events[7] as Queued)])
      assert.equal((await parked()).length, 7)
    })

    it('gives an all-clear at once whose older revocation will never open', async () => {
      const [tight, clear] = (await queue(
        { ...compliance('not-compliant'), ...subjectOf('shut') },
        { ...compliance('compliant'), ...subjectOf('shut') },
      )) as [Queued, Queued]
      await unreadable(tight)
      assert.deepEqual(jtisOf(await call(NOW)), [jti(clear)])
      assert.deepEqual(await parked(), [tight.eventId])
    })
  })

  describe('a held poll', () => {
    it('is answered at once when its stream is woken, and no other', async () => {
      const { answer, isHeld } = held()
      await isHeld()
      const [event] = await queue(subjectOf('woken'))
      polls.wake(newId())
      const before = reads
      polls.wake(streamId)
      await waitUntil('another look', () => reads === before + 1, SOON)
      assert.deepEqual(jtisOf(await answer), [jti(event as { eventId: string })])
    })

    it('is answered at once when its shard is woken', async () => {
      const { answer, isHeld } = held()
      await isHeld()
      await queue(subjectOf('shard'))
      const before = reads
      polls.wakeShards(new Set([shardOf(streamId)]))
      await waitUntil('another look', () => reads === before + 1, SOON)
      assert.equal(jtisOf(await answer).length, 1)
    })

    it('is not woken by another shard', async () => {
      const { answer, isHeld } = held()
      await isHeld()
      const before = reads
      polls.wakeShards(new Set([(shardOf(streamId) + 1) % 256]))
      polls.wake(newId())
      // A wake is followed by a look at once; the service's own is two seconds away.
      await new Promise((resolve) => setTimeout(resolve, 200))
      assert.equal(reads, before)
      polls.drain()
      await answer
    })

    it('finds by itself what nobody told it of', async () => {
      const { answer, isHeld } = held()
      await isHeld()
      const [event] = await queue(subjectOf('untold'))
      assert.deepEqual(jtisOf(await answer), [jti(event as { eventId: string })])
    })

    it('ends empty when its receiver goes', async () => {
      const gone = new AbortController()
      const { answer, isHeld } = held({ aborted: gone.signal })
      await isHeld()
      gone.abort()
      assert.deepEqual(await answer, { sets: {}, moreAvailable: false })
    })

    it('ends empty when its time is over', async () => {
      const { answer, isHeld } = held()
      await isHeld()
      nowMs += LONG_MS
      polls.wake(streamId)
      assert.deepEqual(await answer, { sets: {}, moreAvailable: false })
    })

    it('goes on while there is time left', async () => {
      const { answer, isHeld } = held()
      await isHeld()
      nowMs += LONG_MS - 1_000
      const before = reads
      polls.wake(streamId)
      await waitUntil('another look', () => reads > before, SOON)
      const [event] = await queue(subjectOf('late'))
      assert.deepEqual(jtisOf(await answer), [jti(event as { eventId: string })])
    })

    it('ends with what its caller’s token has come to, before it looks again', async () => {
      const checkAccess = async () => {
        throw new NotFound('gone')
      }
      const { answer, isHeld } = held({ checkAccess })
      await isHeld()
      const before = reads
      polls.wake(streamId)
      await assert.rejects(answer, /gone/)
      assert.equal(reads, before)
    })

    it('asks nobody again when it is answered at once', async () => {
      await queue(subjectOf('at-once'))
      const checkAccess = async () => {
        throw new NotFound('gone')
      }
      assert.equal(jtisOf(await call({}, { checkAccess })).length, 1)
    })

    it('hands out the notice alone when the stream is stopped meanwhile', async () => {
      const { answer, isHeld } = held()
      await isHeld()
      await hub.rows(`update streams set status = 'paused', status_by = 'hub' where stream_id = ?`, [
        streamId,
      ])
      const [, notice] = await queue(subjectOf('kept'), {
        type: SSF.streamUpdated,
        subject: { format: 'opaque', id: streamId },
        claims: { status: 'paused' },
      })
      assert.deepEqual(jtisOf(await answer), [jti(notice as { eventId: string })])
    })

    it('ends with 404 when the stream is deleted meanwhile', async () => {
      const { answer, isHeld } = held()
      await isHeld()
      await hub.rows('delete from streams where stream_id = ?', [streamId])
      polls.wake(streamId)
      await assert.rejects(answer, NotFound)
    })

    it('is not held once the hub drains', async () => {
      polls.drain()
      assert.deepEqual(await call({}), { sets: {}, moreAvailable: false })
    })

    it('is one of four of its stream: a fifth sends the oldest away', async () => {
      const all = []
      for (let n = 0; n < 4; n += 1) {
        const poll = held()
        await poll.isHeld()
        all.push(poll.answer)
      }
      const ended: number[] = []
      for (const [index, answer] of all.entries()) void answer.then(() => ended.push(index))
      await call(NOW)
      await waitUntil('the oldest', () => ended.length > 0, SOON)
      assert.deepEqual(ended, [0])
      // Its place is free again: the poll at once came and went.
      const next = held()
      await next.isHeld()
      const before = reads
      polls.wake(streamId)
      await waitUntil('those that are held', () => reads === before + 4, SOON)
      assert.deepEqual(ended, [0])
      polls.drain()
      await Promise.all([...all, next.answer])
    })
  })

  it('serves poll streams of the caller alone', async () => {
    const push = await hub.addStream({ receiverId, endpointUrl: 'https://point.example.com' })
    const foreign = await hub.addStream({ receiverId: await hub.addReceiver() })
    for (const id of [push, foreign, newId()]) {
      streamId = id
      await assert.rejects(call({ maxEvents: 0 }), {
        name: 'NotFound',
        message: 'There is no poll stream with this id.',
      })
    }
    assert.deepEqual(touched, [])
  })
})
