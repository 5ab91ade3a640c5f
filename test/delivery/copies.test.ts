import assert from 'node:assert/strict'
import fc from 'fast-check'
import { findCopies, pairKey, withoutCopies } from '../../src/delivery/copies.js'
import type { KnownFact, PreparedEvent } from '../../src/delivery/fan-out-repository.js'
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
    const flood = Array.from({ length: 10 }, () => said('idp', { dated: false }))
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

interface Statement {
  readonly hub: number
  readonly sourceId: string
  readonly text: string
}

/** `rewrites`: the stream's SETs say it in other words, as those of a profile may. */
interface Edge {
  readonly from: number
  readonly to: number
  readonly rewrites: boolean
}

/** Hubs joined by streams, each with what fan-out stores; the events under way wait in one bag. */
function network(edges: readonly Edge[]) {
  const known = new Map<number, KnownFact[]>()
  const delivered = new Map<number, Set<string>>()
  const sent = new Map<string, number>()
  const underWay: { hub: number; sourceId: string; text: string }[] = []

  function fanOut(hub: number, event: PreparedEvent): void {
    const before = known.get(hub) ?? []
    const copies = findCopies([event], before)
    const streams = edges.filter(({ from, to }) => from === hub && event.event.sourceId !== `hub ${to}`)
    const matched = streams.map((edge) => ({
      edge,
      delivery: { streamId: nameOf(edge), eventId: event.event.eventId },
    }))
    const gone = delivered.get(hub) ?? new Set()
    const kept = withoutCopies(matched, copies, gone)
    for (const { edge, delivery } of kept) {
      gone.add(pairKey(delivery))
      sent.set(delivery.streamId, (sent.get(delivery.streamId) ?? 0) + 1)
      const text = edge.rewrites ? 'in other words' : String(event.fact?.hash)
      underWay.push({ hub: edge.to, sourceId: `hub ${hub}`, text })
    }
    delivered.set(hub, gone)
    if (kept.length > 0 || !copies.has(event.event.eventId)) known.set(hub, [...before, stored(event)])
  }

  return { fanOut, underWay, sent }
}

const nameOf = ({ from, to }: Edge) => `${from}>${to}`

describe('hubs that pass one fact on', () => {
  const place = fc.nat(4)
  const edgesOf = (rewrites: fc.Arbitrary<boolean>) =>
    fc.uniqueArray(
      fc.record({ from: place, to: place, rewrites }).filter(({ from, to }) => from !== to),
      { maxLength: 20, selector: nameOf },
    )
  const origin = fc.record({ hub: place, sourceId: fc.constantFrom('idp', 'mdm'), text: fc.constant('fact') })
  const origins = fc.array(origin, { minLength: 1, maxLength: 6 })
  const order = fc.infiniteStream(fc.nat())

  /** @returns how often each stream sent it, at most */
  function run(joined: Edge[], stated: Statement[], options: { picks: Iterator<number>; dated: boolean }) {
    nowMs = START_MS
    nextId = newIds()
    const { fanOut, underWay, sent } = network(joined)
    underWay.push(...stated)
    for (let steps = 0; underWay.length > 0; steps += 1) {
      assert.ok(steps < 10_000, 'it goes round for ever')
      const at = (options.picks.next().value as number) % underWay.length
      const [next] = underWay.splice(at, 1)
      if (next) fanOut(next.hub, said(next.sourceId, { dated: options.dated, text: next.text }))
    }
    return Math.max(0, ...sent.values())
  }

  for (const dated of [true, false]) {
    const words = dated ? 'dated' : 'undated'

    it(`stop, however they are joined and in whatever order it travels, ${words}`, () => {
      const property = fc.property(edgesOf(fc.constant(false)), origins, order, (joined, stated, picks) => {
        // With a date once per stream; without one as often as it was stated, at most.
        assert.ok(run(joined, stated, { picks, dated }) <= (dated ? 1 : stated.length))
      })
      fc.assert(property, { numRuns: 300 })
    })

    it(`stop also when some of them write it in other words, ${words}`, () => {
      const property = fc.property(edgesOf(fc.boolean()), origins, order, (joined, stated, picks) => {
        assert.ok(run(joined, stated, { picks, dated }) <= (dated ? 2 : 20))
      })
      fc.assert(property, { numRuns: 300 })
    })
  }
})
