import assert from 'node:assert/strict'
import fc from 'fast-check'
import {
  findSaidBefore,
  pairsToLookUp,
  type StreamAndEvent,
  withoutCopies,
} from '../../src/delivery/copies.js'
import type { KnownFact, PreparedEvent } from '../../src/delivery/fan-out-repository.js'
import { createEventIds } from '../../src/kernel/ids.js'
import { HUB_SOURCE_ID } from '../../src/secevent/event.js'

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

const to = (streamId: string, { event }: PreparedEvent) => ({
  delivery: { streamId, eventId: event.eventId },
})

/** Whether a stream that got all these is not given this one. */
function isCopy(next: PreparedEvent, ...earlier: PreparedEvent[]): boolean {
  const known = earlier.map(stored)
  const pairs = pairsToLookUp([to('s', next)], [next], known)
  return withoutCopies([to('s', next)], { fresh: [next], known }, pairs).length === 0
}

describe('copies of a fact', () => {
  beforeEach(() => {
    nowMs = START_MS
    nextId = newIds()
  })

  it('are what another source says with the same date, at any time', () => {
    const first = said('idp')
    nowMs += 200 * HOUR_MS
    assert.ok(isCopy(said('hub'), first))
    assert.ok(!isCopy(said('hub', { text: 'another fact' }), first))
  })

  it('are, without a date, what another source says within an hour', () => {
    const first = said('idp', { dated: false })
    nowMs += HOUR_MS - 1
    assert.ok(isCopy(said('hub', { dated: false }), first))
    nowMs += 1
    assert.ok(!isCopy(said('hub', { dated: false }), first))
  })

  for (const dated of [true, false]) {
    it(`are what one source says the eleventh time within an hour, ${dated ? 'dated' : 'undated'}, and not before`, () => {
      const flood = Array.from({ length: 10 }, () => said('idp', { dated }))
      assert.ok(!isCopy(said('idp', { dated }), ...flood.slice(1)))
      assert.ok(isCopy(said('idp', { dated }), ...flood))
      nowMs += HOUR_MS
      assert.ok(!isCopy(said('idp', { dated }), ...flood))
    })
  }

  it('are never what the operators of the hub say again', () => {
    const flood = Array.from({ length: 40 }, () => said(HUB_SOURCE_ID))
    assert.ok(!isCopy(said(HUB_SOURCE_ID), ...flood))
  })

  it('are not made of one source’s statements by those of another', () => {
    const first = said('idp', { dated: false })
    const known = [stored(first)]
    const flood = Array.from({ length: 30 }, () => said('peer', { dated: false }))
    const second = said('idp', { dated: false })
    const fresh = [...flood, second]
    const matched = fresh.map((one) => to('s', one))
    const delivered = pairsToLookUp(matched, fresh, known)
    assert.deepEqual(withoutCopies(matched, { fresh, known }, delivered), [to('s', second)])
  })

  it('are found inside one batch too', () => {
    const fresh = [said('idp'), said('hub'), said('third', { text: 'another fact' })]
    assert.deepEqual([...findSaidBefore(fresh, [])], [fresh[1]?.event.eventId])
    const matched = fresh.map((one) => to('s', one))
    assert.deepEqual(withoutCopies(matched, { fresh, known: [] }, []), [matched[0], matched[2]])
  })

  it('are held back from the streams that have the fact, and from no other', () => {
    const [first, copy, third] = [said('idp'), said('hub'), said('elsewhere')]
    const facts = { fresh: [copy, third], known: [stored(first)] }
    const matched = [to('has it', copy), to('has it not', copy), to('has it not', third), to('new', third)]
    assert.deepEqual(withoutCopies(matched, facts, [{ streamId: 'has it', eventId: first.event.eventId }]), [
      matched[1],
      matched[3],
    ])
  })

  it('are asked for once per stream and earlier event, whatever a batch repeats, and within a bound', () => {
    const known = Array.from({ length: 20 }, () => stored(said('idp')))
    const fresh = Array.from({ length: 500 }, () => said('hub'))
    const streams = Array.from({ length: 5_000 }, (_, index) => `s${index}`)
    const few = fresh.flatMap((one) => streams.slice(0, 10).map((streamId) => to(streamId, one)))
    assert.equal(pairsToLookUp(few, fresh, known).length, 10 * 20)
    const many = streams.map((streamId) => to(streamId, fresh[0] as PreparedEvent))
    assert.ok(pairsToLookUp(many, fresh, known).length < 50_100)
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
    const facts = { fresh: [event], known: before.slice(-20) }
    const streams = edges.filter(
      ({ from, to: next }) => from === hub && event.event.sourceId !== `hub ${next}`,
    )
    const matched = streams.map((edge) => ({ edge, ...to(nameOf(edge), event) }))
    const gone = delivered.get(hub) ?? new Set()
    const pairs = pairsToLookUp(matched, facts.fresh, facts.known)
    const kept = withoutCopies(
      matched,
      facts,
      pairs.filter((pair) => gone.has(pairKey(pair))),
    )
    for (const { edge, delivery } of kept) {
      gone.add(pairKey(delivery))
      sent.set(delivery.streamId, (sent.get(delivery.streamId) ?? 0) + 1)
      const text = edge.rewrites ? 'in other words' : String(event.fact?.hash)
      underWay.push({ hub: edge.to, sourceId: `hub ${hub}`, text })
    }
    delivered.set(hub, gone)
    if (kept.length > 0 || matched.length === 0) known.set(hub, [...before, stored(event)])
  }

  return { fanOut, underWay, sent }
}

const pairKey = ({ streamId, eventId }: StreamAndEvent) => `${streamId} ${eventId}`
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
        // Each stream sends it as often as it was stated, at most.
        assert.ok(run(joined, stated, { picks, dated }) <= stated.length)
      })
      fc.assert(property, { numRuns: 300 })
    })

    it(`stop also when some of them write it in other words, ${words}`, () => {
      const property = fc.property(edgesOf(fc.boolean()), origins, order, (joined, stated, picks) => {
        assert.ok(run(joined, stated, { picks, dated }) <= 20)
      })
      fc.assert(property, { numRuns: 300 })
    })
  }
})
