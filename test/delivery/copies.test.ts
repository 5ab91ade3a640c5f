import assert from 'node:assert/strict'
import fc from 'fast-check'
import { findCopies, pairKey, withoutCopies } from '../../src/delivery/copies.js'
import { type KnownFact, MAX_KNOWN_FACTS, type PreparedEvent } from '../../src/delivery/fan-out-repository.js'
import { createEventIds } from '../../src/kernel/ids.js'

const HOUR_MS = 3_600_000
const START_MS = Date.parse('2026-11-22T12:00:00Z')
const DAY = '2026-11-22'

let nowMs = START_MS
const newIds = () => createEventIds({ now: () => nowMs } as Parameters<typeof createEventIds>[0])
let nextId = newIds()

function said(sourceId: string, options: { dated?: boolean; text?: string } = {}): PreparedEvent {
  const { dated = true, text = 'fact' } = options
  const event = { eventId: nextId(), sourceId, acceptedAtMs: nowMs } as PreparedEvent['event']
  return { event, day: DAY, fact: { hash: Buffer.from(text), dated } } as PreparedEvent
}

const stored = ({ event, fact }: PreparedEvent): KnownFact => ({
  factHash: fact?.hash.toString('base64') ?? '',
  sourceId: event.sourceId,
  eventId: event.eventId,
  day: DAY,
})

const isCopy = (event: PreparedEvent, ...earlier: PreparedEvent[]) =>
  findCopies([event], earlier.map(stored)).has(event.event.eventId)

describe('copies of a fact', () => {
  beforeEach(() => {
    nowMs = START_MS
    nextId = newIds()
  })

  it('are what says the same with the same date, whoever says it and when', () => {
    const first = said('idp')
    nowMs += 200 * HOUR_MS
    assert.ok(isCopy(said('hub'), first))
    assert.ok(isCopy(said('idp'), first))
    assert.ok(!isCopy(said('hub', { text: 'another fact' }), first))
  })

  it('are, without a date, what another source says within an hour, and never what the same one says', () => {
    const first = said('idp', { dated: false })
    nowMs += HOUR_MS - 1
    assert.ok(isCopy(said('hub', { dated: false }), first))
    assert.ok(!isCopy(said('idp', { dated: false }), first))
    nowMs += 1
    assert.ok(!isCopy(said('hub', { dated: false }), first))
  })

  it('are found inside one batch too', () => {
    const batch = [said('idp'), said('hub'), { ...said('hub'), fact: undefined } as unknown as PreparedEvent]
    assert.deepEqual([...findCopies(batch, []).keys()], [batch[1]?.event.eventId])
  })

  it('are, in a flood of one undated statement, what the same source says as well', () => {
    const flood = Array.from({ length: MAX_KNOWN_FACTS }, () => said('idp', { dated: false }))
    assert.ok(isCopy(said('idp', { dated: false }), ...flood))
    assert.ok(!isCopy(said('idp', { dated: false }), ...flood.slice(1)))
  })

  it('are held back from the streams that have the fact, and from no other', () => {
    const [first, copy, third] = [said('idp'), said('hub'), said('elsewhere')]
    const copies = findCopies([copy, third], [stored(first)])
    const matched = [
      ...['has it', 'has it not'].map((streamId) => ({
        delivery: { streamId, eventId: copy.event.eventId },
      })),
      ...['has it not', 'new'].map((streamId) => ({ delivery: { streamId, eventId: third.event.eventId } })),
    ]
    const delivered = new Set([pairKey({ streamId: 'has it', eventId: first.event.eventId })])
    assert.deepEqual(withoutCopies(matched, copies, delivered), [matched[1], matched[3]])
  })
})

/** Hubs joined by streams, each with what fan-out stores; the events under way wait in one bag. */
function network(edges: readonly (readonly [from: number, to: number])[]) {
  const known = new Map<number, KnownFact[]>()
  const delivered = new Map<number, Set<string>>()
  const sent = new Map<string, number>()
  const underWay: { hub: number; sourceId: string }[] = []

  function fanOut(hub: number, event: PreparedEvent): void {
    const before = known.get(hub) ?? []
    const copies = findCopies([event], before)
    const streams = edges.filter(([from, to]) => from === hub && event.event.sourceId !== `hub ${to}`)
    const matched = streams.map((edge) => ({
      edge,
      delivery: { streamId: edge.join('>'), eventId: event.event.eventId },
    }))
    const gone = delivered.get(hub) ?? new Set()
    const kept = withoutCopies(matched, copies, gone)
    for (const { edge, delivery } of kept) {
      gone.add(pairKey(delivery))
      sent.set(delivery.streamId, (sent.get(delivery.streamId) ?? 0) + 1)
      underWay.push({ hub: edge[1], sourceId: `hub ${hub}` })
    }
    delivered.set(hub, gone)
    if (kept.length > 0 || !copies.has(event.event.eventId)) known.set(hub, [...before, stored(event)])
  }

  return { fanOut, underWay, sent }
}

describe('hubs that pass one fact on', () => {
  const place = fc.nat(4)
  const edge = fc.tuple(place, place).filter(([from, to]) => from !== to)
  const edges = fc.uniqueArray(edge, { maxLength: 20, selector: (one) => one.join('>') })
  const origin = fc.record({ hub: place, sourceId: fc.constantFrom('idp', 'mdm') })
  const origins = fc.array(origin, { minLength: 1, maxLength: 6 })
  const order = fc.infiniteStream(fc.nat())

  for (const dated of [true, false]) {
    it(`stop, however they are joined and in whatever order it travels, ${dated ? 'dated' : 'undated'}`, () => {
      nowMs = START_MS
      fc.assert(
        fc.property(edges, origins, order, (joined, stated, picks) => {
          const { fanOut, underWay, sent } = network(joined)
          underWay.push(...stated)
          for (let steps = 0; underWay.length > 0; steps += 1) {
            assert.ok(steps < 2_000, 'it goes round for ever')
            const at = (picks.next().value as number) % underWay.length
            const [next] = underWay.splice(at, 1)
            if (next) fanOut(next.hub, said(next.sourceId, { dated }))
          }
          // With a date once per stream; without one as often as it was stated, at most.
          const most = dated ? 1 : stated.length
          for (const [stream, count] of sent) assert.ok(count <= most, `${stream}: ${count}`)
        }),
        { numRuns: 300 },
      )
    })
  }
})
