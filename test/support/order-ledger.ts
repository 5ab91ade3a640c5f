import type { AccessEffect, SecurityEvent } from '../../src/secevent/event.js'

/** What a receiver saw of one SET on one stream. */
export interface Sighting {
  readonly stream: string
  readonly receiver: string
  readonly txn: string
  readonly jti: string
  /** Answered 202, or handed out by a poll. */
  readonly taken: boolean
  /** Equal for the SETs of one poll answer. */
  readonly answer: number
}

export interface Outcome {
  readonly stream: string
  readonly txn: string
  readonly outcome: string
}

interface Known {
  readonly id: string
  readonly effect: AccessEffect
  readonly subject: string
}

/**
 * Holds safe order against what receivers saw. It knows an event by its txn, and imports no rule of the hub: the
 * order of events is that of their ids, the subject is what the plan called it.
 */
export function createOrderLedger() {
  const events = new Map<string, Known>()
  const sightings: Sighting[] = []
  let answers = 0

  const knownOf = (txn: string): Known => {
    const known = events.get(txn)
    if (!known) throw new Error(`a SET came that nobody sent: ${txn}`)
    return known
  }

  const say = (txn: string) => {
    const { id, effect, subject } = knownOf(txn)
    return `${effect} ${id} of ${subject}`
  }

  function opposites(stream: string, seen: readonly Sighting[]): string[] {
    const tightened = new Set(
      seen.filter(({ txn }) => knownOf(txn).effect === 'tightens').map(({ txn }) => knownOf(txn).subject),
    )
    return seen
      .filter(({ txn }) => knownOf(txn).effect === 'loosens' && tightened.has(knownOf(txn).subject))
      .map(({ txn }) => `${stream}: a poll answer holds ${say(txn)} beside a tightening event of it`)
  }

  /** No loosening event is first taken after a newer tightening one of its subject was first seen. */
  function staleFirsts(stream: string, seen: readonly Sighting[]): string[] {
    const newest = new Map<string, string>()
    const taken = new Set<string>()
    const faults: string[] = []
    for (const { txn, taken: isTaken } of seen) {
      const { id, effect, subject } = knownOf(txn)
      const tightening = newest.get(subject) ?? ''
      if (effect === 'tightens' && id > tightening) newest.set(subject, id)
      if (effect === 'loosens' && isTaken && !taken.has(txn) && id < tightening) {
        faults.push(`${stream}: ${say(txn)} came first after the newer tightening ${tightening}`)
      }
      if (isTaken) taken.add(txn)
    }
    return faults
  }

  function lostOrDoubled(stream: string, seen: readonly Sighting[], outcomes: ReadonlyMap<string, string>) {
    const faults: string[] = []
    for (const [txn, { id, effect, subject }] of events) {
      const mine = seen.filter((sighting) => sighting.txn === txn)
      const jtis = new Set(mine.map(({ jti }) => jti))
      if (jtis.size > 1) faults.push(`${stream}: ${say(txn)} came under ${jtis.size} jtis`)
      const wasTaken = mine.some(({ taken }) => taken)
      const outcome = outcomes.get(txn)
      if (outcome === 'superseded' && effect === 'loosens') {
        const overtaken = [...events.values()].some(
          (other) => other.subject === subject && other.effect === 'tightens' && other.id > id,
        )
        if (!overtaken) faults.push(`${stream}: ${say(txn)} was superseded by nothing`)
      } else if (outcome !== 'received' || !wasTaken) {
        faults.push(`${stream}: ${say(txn)} ended as ${outcome}, ${wasTaken ? 'taken' : 'never taken'}`)
      }
    }
    return faults
  }

  return {
    expect(event: SecurityEvent, subject: string): void {
      events.set(event.txn, { id: event.eventId, effect: event.effect, subject })
    },
    /** One request of a push, or all SETs of one poll answer. */
    saw(seen: readonly Omit<Sighting, 'answer'>[]): void {
      answers += 1
      for (const sighting of seen) sightings.push({ ...sighting, answer: answers })
    },
    size: () => events.size,
    count: () => sightings.length,
    /** Every broken promise, in words; empty when safe order held. */
    faults(streams: readonly string[], outcomes: readonly Outcome[]): string[] {
      return streams.flatMap((stream) => {
        const seen = sightings.filter((sighting) => sighting.stream === stream)
        const own = outcomes.filter((row) => row.stream === stream)
        const byAnswer = new Map<number, Sighting[]>()
        for (const sighting of seen)
          byAnswer.set(sighting.answer, [...(byAnswer.get(sighting.answer) ?? []), sighting])
        return [
          ...[...byAnswer.values()].flatMap((answer) => opposites(stream, answer)),
          ...staleFirsts(stream, seen),
          ...lostOrDoubled(stream, seen, new Map(own.map(({ txn, outcome }) => [txn, outcome]))),
        ]
      })
    },
  }
}

export type OrderLedger = ReturnType<typeof createOrderLedger>
