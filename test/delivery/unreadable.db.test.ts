import assert from 'node:assert/strict'
import { parkedRepository } from '../../src/delivery/parked-repository.js'
import { createContentOpener, createEventPreparer } from '../../src/delivery/prepare-event.js'
import { createClock } from '../../src/kernel/clock.js'
import { silentLogger } from '../../src/kernel/logger.js'
import { SealBroken } from '../../src/keys/aead.js'
import { createKeyService } from '../../src/keys/key-service.js'
import type { SecurityEvent } from '../../src/secevent/event.js'
import { ensureDayPartition } from '../../src/storage/partitions.js'
import { waitUntil } from '../support/wait.js'
import { type DeliveryHarness, type Sink, startDelivery, startSink } from './delivery-harness.js'

const CALL = { aborted: new AbortController().signal, checkAccess: async () => {} }

/** Each needs another way round: a seal that breaks, a text that is cut short, a seal over what is no JSON. */
const SPOILED: Record<string, (hub: DeliveryHarness, day: string) => Promise<Buffer>> = {
  changed: async () => Buffer.alloc(200, 7),
  'cut short': async () => Buffer.alloc(3),
  'no JSON': async (hub, day) => (await hub.keys.contentCipher(day)).seal(Buffer.from('{"sub_id":')),
}

describe('an event whose stored content does not open', () => {
  let hub: DeliveryHarness
  let receiverId: string
  before(async () => {
    hub = await startDelivery()
  })
  after(() => hub.close())
  beforeEach(async () => {
    receiverId = await hub.addReceiver()
  })

  const subject = (n: number) => ({ subject: { format: 'email' as const, email: `u${n}@example.com` } })
  /** For this stream alone: another's sender would have opened one before it is spoiled. */
  const threeEvents = (targetStreamId: string) =>
    [1, 2, 3].map((n) => hub.event({ ...subject(n), targetStreamId }))

  async function spoil({ eventId }: SecurityEvent, how: string): Promise<Buffer> {
    const [row] = await hub.rows<{ content: Buffer; day: string }>(
      'select content, day from events where event_id = ?',
      [eventId],
    )
    if (!row) throw new Error('the event is not there')
    await write(eventId, (await SPOILED[how]?.(hub, row.day)) as Buffer)
    return row.content
  }
  const write = (eventId: string, content: Buffer) =>
    hub.rows('update events set content = ? where event_id = ?', [content, eventId])
  const parkedOf = (streamId: string) =>
    hub.rows<{ id: string; code: string; reason: string; event_id: string }>(
      'select id, code, reason, event_id from parked where stream_id = ? and resolved_at is null',
      [streamId],
    )
  async function replay(streamId: string): Promise<void> {
    const [parked] = await parkedOf(streamId)
    await hub.db.transaction((trx) => parkedRepository.replay(trx, { id: parked?.id ?? '' }, 1))
    hub.delivery.wake(streamId)
  }

  for (const how of Object.keys(SPOILED)) {
    it(`is parked from a poll stream, and the others are handed out: ${how}`, async () => {
      const id = await hub.addStream({ receiverId })
      const [first, bad, last] = threeEvents(id) as [SecurityEvent, SecurityEvent, SecurityEvent]
      await hub.fanOut([first, bad, last])
      const content = await spoil(bad, how)
      const poll = () => hub.delivery.polls.poll(receiverId, id, { returnImmediately: true }, CALL)
      const jtis = (events: readonly SecurityEvent[]) =>
        events.map(({ eventId }) => hub.keys.jtis.mint(eventId, receiverId))
      assert.deepEqual(Object.keys((await poll()).sets), jtis([first, last]))
      const [parked, ...more] = await parkedOf(id)
      assert.deepEqual([parked?.code, parked?.event_id, more], ['unreadable', bad.eventId, []])
      assert.match(parked?.reason ?? '', /does not open/)
      await write(bad.eventId, content)
      await replay(id)
      assert.deepEqual(Object.keys((await poll()).sets), jtis([first, bad, last]))
    })

    it(`is parked from a push stream, and the others are sent: ${how}`, async () => {
      const sink: Sink = await startSink()
      try {
        const id = await hub.addStream({ receiverId, endpointUrl: sink.url, status: 'paused' })
        const [first, bad, last] = threeEvents(id) as [SecurityEvent, SecurityEvent, SecurityEvent]
        await hub.fanOut([first, bad, last])
        const content = await spoil(bad, how)
        const pushed = () => sink.received.map(({ claims }) => claims.txn).sort()
        await hub.db('streams').where({ stream_id: id }).update({ status: 'enabled', version: 2 })
        await hub.delivery.streamChanged(id)
        await waitUntil('it is parked', async () => (await parkedOf(id)).length > 0)
        await waitUntil('the others', () => pushed().length >= 2)
        assert.deepEqual(pushed(), [first.txn, last.txn].sort())
        const [parked, ...more] = await parkedOf(id)
        assert.deepEqual([parked?.code, parked?.event_id, more], ['unreadable', bad.eventId, []])
        assert.match(parked?.reason ?? '', /does not open/)
        await write(bad.eventId, content)
        await replay(id)
        await waitUntil('it comes', () => pushed().includes(bad.txn))
      } finally {
        await sink.close()
      }
    })
  }

  it('is not one whose day has a key that this process cannot open: that is tried again', async () => {
    const open = () =>
      createKeyService({ db: hub.db, clock: createClock(), leadMs: 3_600_000, logger: silentLogger })
    const running = await open()
    const other = await open()
    const { id: ringKey } = await other.ring.addKey(hub.db, 0)
    await other.refresh()
    const day = '2020-01-02'
    const { event, sealedContent } = await createEventPreparer(other)(
      hub.event({ ...subject(1), acceptedAtMs: Date.parse(day) }),
    )
    const openContent = createContentOpener(running)
    const row = { delivery: event, day, sealedContent }
    // As under a master key that this process was not given.
    const spoilt = (sql: string) => hub.rows(`update key_ring set ${sql} where key_id = ?`, [ringKey])
    await spoilt('secret = secret || secret')
    await assert.rejects(openContent(row), SealBroken)
    await spoilt('secret = substr(secret, 1, length(secret) / 2)')
    assert.deepEqual((await openContent(row))?.subject, event.subject)
    await hub.rows("delete from data_keys where purpose = 'content' and day = ?", [day])
    assert.equal(await createContentOpener(await open())(row), undefined, 'its key is gone for good')
  })

  describe('for now, as under a master key that this process was not given', () => {
    /** A second key service seals today under a ring key of its own, which this hub's then cannot open. */
    async function lockOneOut(
      streamId: string,
      day: string,
    ): Promise<{ locked: SecurityEvent; unlock(): Promise<void> }> {
      const other = await createKeyService({
        db: hub.db,
        clock: createClock(),
        leadMs: 3_600_000,
        logger: silentLogger,
      })
      const { id: ringKey } = await other.ring.addKey(hub.db, 0)
      await other.refresh()
      const locked = hub.event({ ...subject(1), targetStreamId: streamId })
      const { sealedContent } = await createEventPreparer(other)({ ...locked, acceptedAtMs: Date.parse(day) })
      await hub.fanOut([locked])
      await ensureDayPartition(hub.db, day)
      await hub.rows('update events set day = ?::date, content = ? where event_id = ?', [
        day,
        sealedContent,
        locked.eventId,
      ])
      await hub.rows('update delivery_queue set day = ?::date where event_id = ?', [day, locked.eventId])
      const spoilt = (sql: string) => hub.rows(`update key_ring set ${sql} where key_id = ?`, [ringKey])
      await spoilt('secret = secret || secret')
      return {
        locked,
        unlock: async () => void (await spoilt('secret = substr(secret, 1, length(secret) / 2)')),
      }
    }

    it('keeps back nothing of a poll but what is newer of its subject', async () => {
      const id = await hub.addStream({ receiverId })
      const { locked, unlock } = await lockOneOut(id, '2020-01-03')
      const poll = () => hub.delivery.polls.poll(receiverId, id, { returnImmediately: true }, CALL)
      await assert.rejects(poll(), SealBroken)
      const [newer, free] = [1, 2].map((n) => hub.event({ ...subject(n), targetStreamId: id })) as [
        SecurityEvent,
        SecurityEvent,
      ]
      await hub.fanOut([newer, free])
      const jtis = (...events: readonly SecurityEvent[]) =>
        events.map(({ eventId }) => hub.keys.jtis.mint(eventId, receiverId))
      const { sets, moreAvailable } = await poll()
      assert.deepEqual([Object.keys(sets), moreAvailable], [jtis(free), true])
      assert.deepEqual(await parkedOf(id), [])
      await unlock()
      assert.deepEqual(Object.keys((await poll()).sets), jtis(locked, newer, free))
    })

    it('keeps back nothing of a push stream but what is newer of its subject', async () => {
      const sink: Sink = await startSink()
      try {
        const id = await hub.addStream({ receiverId, endpointUrl: sink.url, status: 'paused' })
        const { locked, unlock } = await lockOneOut(id, '2020-01-04')
        const [newer, free] = [1, 2].map((n) => hub.event({ ...subject(n), targetStreamId: id })) as [
          SecurityEvent,
          SecurityEvent,
        ]
        await hub.fanOut([newer, free])
        const pushed = () => sink.received.map(({ claims }) => claims.txn)
        await hub.db('streams').where({ stream_id: id }).update({ status: 'enabled', version: 2 })
        await hub.delivery.streamChanged(id)
        await waitUntil('the free one', () => pushed().length > 0)
        const last = hub.event({ ...subject(3), targetStreamId: id })
        await hub.fanOut([last])
        await waitUntil('another that came since', () => pushed().includes(last.txn))
        assert.deepEqual(pushed(), [free.txn, last.txn])
        assert.deepEqual(await parkedOf(id), [])
        await unlock()
        await waitUntil('all', () => pushed().length === 4)
        assert.deepEqual(pushed().slice(2), [locked.txn, newer.txn])
      } finally {
        await sink.close()
      }
    })
  })

  it('is not one that another process sealed under a key which this one has not read yet', async () => {
    const open = () =>
      createKeyService({ db: hub.db, clock: createClock(), leadMs: 3_600_000, logger: silentLogger })
    const running = await open()
    const other = await open()
    await other.ring.addKey(hub.db, 0)
    await other.refresh()
    const day = '2020-01-01'
    const { event, sealedContent } = await createEventPreparer(other)(
      hub.event({ ...subject(1), acceptedAtMs: Date.parse(day) }),
    )
    const content = await createContentOpener(running)({ delivery: event, day, sealedContent })
    assert.deepEqual(content?.subject, event.subject)
  })
})
