import assert from 'node:assert/strict'
import { newId } from '../../src/kernel/ids.js'
import type { Subject } from '../../src/secevent/event.js'
import { CAEP } from '../../src/secevent/event-types.js'
import { sqlRows } from '../../src/storage/database.js'
import type { MatchableEvent } from '../../src/streams/stream-matching.js'
import { createSsfHarness, type SsfHarness } from './ssf-harness.js'

const SUBJECT: Subject = { format: 'email', email: 'ann@example.com' }
const REQUESTED = { events_requested: [CAEP.sessionRevoked, CAEP.credentialChange] }

describe('streams: which streams take an event', () => {
  let ssf: SsfHarness
  let match: (events: MatchableEvent[]) => Promise<string[][]>
  before(async () => {
    ssf = await createSsfHarness()
    match = async (events) => {
      const takers = await ssf.match(events)
      return events.map((event) =>
        takers.filter((taker) => taker.eventId === event.eventId).map((taker) => taker.streamId),
      )
    }
  })
  after(() => ssf.close())
  beforeEach(() => ssf.db('receivers').delete())

  const event = (overrides: Partial<MatchableEvent> = {}): MatchableEvent => ({
    eventId: newId(),
    type: CAEP.sessionRevoked,
    sourceId: newId(),
    subject: SUBJECT,
    ...overrides,
  })

  it('gives each event of a batch its own streams, with what their deliveries need', async () => {
    const receiver = await ssf.addReceiver('both')
    await ssf
      .db('receivers')
      .where({ id: receiver.id })
      .update({ reports: ['applied'] })
    const revoked = await ssf.createStream(receiver, { events_requested: [CAEP.sessionRevoked] })
    const changed = await ssf.createStream(receiver, { events_requested: [CAEP.credentialChange] })
    const batch = [
      event(),
      event({ type: CAEP.credentialChange }),
      event({ type: CAEP.riskLevelChange }),
      event({ type: 'urn:unknown' }),
    ]
    assert.deepEqual(await match(batch), [[revoked], [changed], [], []])
    const [taker] = await ssf.match([event()])
    assert.equal(taker?.receiverId, receiver.id)
    assert.equal(taker?.method, 'poll')
    assert.deepEqual(taker?.reports, ['applied'])
  })

  it('gives no event of a source that the receiver is not granted', async () => {
    const source = newId()
    const receiver = await ssf.addReceiver('one-source', { sources: [source] })
    const id = await ssf.createStream(receiver, REQUESTED)
    assert.deepEqual(await match([event({ sourceId: source }), event()]), [[id], []])
  })

  it('asks the grants at the time of the event, not those at the time of the stream', async () => {
    const receiver = await ssf.addReceiver('regranted')
    await ssf.createStream(receiver, REQUESTED)
    await ssf.db('receivers').where({ id: receiver.id }).update({ grant_event_types: [] })
    assert.deepEqual(await match([event()]), [[]])
  })

  it('gives nothing to a disabled receiver or a disabled stream, and a paused one its share', async () => {
    const receiver = await ssf.addReceiver('stopped')
    const id = await ssf.createStream(receiver, REQUESTED)
    await ssf.statuses.setStatus(receiver.id, id, { status: 'paused' })
    assert.deepEqual(await match([event()]), [[id]])
    await ssf.statuses.setStatus(receiver.id, id, { status: 'disabled' })
    assert.deepEqual(await match([event()]), [[]])
    await ssf.statuses.setStatus(receiver.id, id, { status: 'enabled' })
    await ssf.db('receivers').where({ id: receiver.id }).update({ enabled: false })
    assert.deepEqual(await match([event(), event({ targetStreamId: id })]), [[], []])
  })

  it('gives nothing back to the receiver that is its source, so that hubs in a ring do not storm', async () => {
    const receiver = await ssf.addReceiver('peer-hub')
    const other = await ssf.addReceiver('gateway')
    await ssf.createStream(receiver, REQUESTED)
    const id = await ssf.createStream(other, REQUESTED)
    const source = newId()
    await ssf.db('transmitters').insert({
      id: source,
      name: 'peer',
      issuer: 'https://peer.example',
      audience: [],
      algorithms: [],
      receiver_id: receiver.id,
    })
    assert.deepEqual(await match([event({ sourceId: source })]), [[id]])
  })

  it('gives an event without a subject to those who take all', async () => {
    const all = await ssf.addReceiver('all')
    const none = await ssf.addReceiver('none', { defaultSubjects: 'NONE' })
    const id = await ssf.createStream(all, REQUESTED)
    await ssf.createStream(none, REQUESTED)
    const { subject: _, ...bare } = event()
    assert.deepEqual(await match([bare]), [[id]])
  })

  it('matches 500 events to 200 streams and 40,000 subjects in one go', async () => {
    const receiver = await ssf.addReceiver('big', { defaultSubjects: 'NONE' })
    for (let i = 0; i < 200; i += 1)
      await ssf.streams.create(receiver.id, { eventsRequested: [CAEP.sessionRevoked] })
    await sqlRows(
      ssf.db,
      `insert into stream_subjects (stream_id, match_hash, mode, subject_wrapped)
       select stream_id, sha256(convert_to(i::text, 'UTF8')), 'added', '' from streams, generate_series(1, 200) i`,
    )
    const subjects: Subject[] = Array.from({ length: 500 }, (_, i) => ({ format: 'opaque', id: String(i) }))
    const [first] = await ssf.streams.list(receiver.id)
    for (const subject of subjects.slice(0, 20)) {
      await ssf.subjects.add(receiver.id, first?.stream_id ?? '', subject, true)
    }
    await sqlRows(ssf.db, 'analyze stream_subjects')
    const batch = subjects.map((subject) => event({ subject }))
    const startedMs = performance.now()
    const takers = await match(batch)
    const tookMs = performance.now() - startedMs
    assert.deepEqual(takers.filter((streams) => streams.length > 0).length, 20)
    assert.ok(tookMs < 20_000, `${tookMs} ms`)
  })
})
