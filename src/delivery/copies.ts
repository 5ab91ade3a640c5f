import { eventIdTimeMs } from '../kernel/ids.js'
import { HUB_SOURCE_ID } from '../secevent/event.js'
import type { KnownFact, PreparedEvent } from './fan-out-repository.js'

/** How long an undated fact of another source counts as the same occurrence. */
const UNDATED_MS = 3_600_000

/** So many statements of one fact by one source within that time go to a stream; then it has heard them. */
const FLOOD = 10

/** Pairs of stream and earlier event that one batch asks for. What is beyond goes out again: a duplicate does no harm. */
const MAX_PAIRS = 50_000

export interface StreamAndEvent {
  readonly streamId: string
  readonly eventId: string
}

type Matched = { readonly delivery: StreamAndEvent }

/** Events of a batch whose fact was said before, in the database or in the batch (docs/adr/0017). Pure. */
export function findSaidBefore(
  fresh: readonly PreparedEvent[],
  known: readonly KnownFact[],
): ReadonlySet<string> {
  const said = new Set(known.map(({ factHash }) => factHash))
  const again = new Set<string>()
  for (const { event, fact } of fresh) {
    if (!fact) continue
    const factHash = fact.hash.toString('base64')
    if (said.has(factHash)) again.add(event.eventId)
    said.add(factHash)
  }
  return again
}

/** Which earlier events which streams may have got, as far as a delivery of this batch depends on it. Pure. */
export function pairsToLookUp(
  matched: readonly Matched[],
  fresh: readonly PreparedEvent[],
  known: readonly KnownFact[],
): (StreamAndEvent & { readonly day: string })[] {
  const earlier = new Map<string, KnownFact[]>()
  for (const one of known) {
    const same = earlier.get(one.factHash)
    if (same) same.push(one)
    else earlier.set(one.factHash, [one])
  }
  const factOf = new Map(fresh.map(({ event, fact }) => [event.eventId, fact?.hash.toString('base64') ?? '']))
  const asked = new Set<string>()
  const pairs: (StreamAndEvent & { day: string })[] = []
  for (const { delivery } of matched) {
    const { streamId, eventId } = delivery
    const factHash = factOf.get(eventId) ?? ''
    const before = earlier.get(factHash)
    if (!before || asked.has(`${streamId} ${factHash}`)) continue
    asked.add(`${streamId} ${factHash}`)
    for (const one of before) pairs.push({ streamId, eventId: one.eventId, day: one.day })
    if (pairs.length >= MAX_PAIRS) break
  }
  return pairs
}

/**
 * Leaves out deliveries of a fact to streams that have it, from before this batch or from it: when another source said
 * it (within the hour, unless it has a date), or the same one so often that hubs are passing it round. What the hub's
 * own operators say is never left out: it does not come back as theirs. Pure.
 * @param matched in hub order
 * @param delivered which of `pairsToLookUp` were
 */
export function withoutCopies<T extends Matched>(
  matched: readonly T[],
  facts: { fresh: readonly PreparedEvent[]; known: readonly KnownFact[] },
  delivered: readonly StreamAndEvent[],
): T[] {
  const heard = createHeard()
  const knownById = new Map(facts.known.map((one) => [one.eventId, one]))
  for (const { streamId, eventId } of delivered) {
    const one = knownById.get(eventId)
    if (one) heard.add(streamId, one.factHash, { sourceId: one.sourceId, atMs: eventIdTimeMs(eventId) })
  }
  const freshById = new Map(facts.fresh.map((one) => [one.event.eventId, one]))
  return matched.filter(({ delivery: { streamId, eventId } }) => {
    const { event, fact } = freshById.get(eventId) ?? {}
    if (!event || !fact) return true
    const statement = { sourceId: event.sourceId, atMs: event.acceptedAtMs }
    const factHash = fact.hash.toString('base64')
    if (heard.isCopy(streamId, factHash, { ...statement, dated: fact.dated })) return false
    heard.add(streamId, factHash, statement)
    return true
  })
}

interface Statement {
  readonly sourceId: string
  readonly atMs: number
}

/** By stream and fact, and by source: when it was last heard, the newest `FLOOD` times. */
function createHeard() {
  const byStream = new Map<string, Map<string, Map<string, number[]>>>()
  return {
    add(streamId: string, factHash: string, { sourceId, atMs }: Statement): void {
      const facts = byStream.get(streamId) ?? new Map<string, Map<string, number[]>>()
      const sources = facts.get(factHash) ?? new Map<string, number[]>()
      const times = [...(sources.get(sourceId) ?? []), atMs].sort((a, b) => a - b).slice(-FLOOD)
      byStream.set(streamId, facts.set(factHash, sources.set(sourceId, times)))
    },
    isCopy(
      streamId: string,
      factHash: string,
      { sourceId, atMs, dated }: Statement & { dated: boolean },
    ): boolean {
      const sources = byStream.get(streamId)?.get(factHash)
      if (!sources) return false
      const isRecent = (time: number | undefined) => time !== undefined && time > atMs - UNDATED_MS
      if (sourceId !== HUB_SOURCE_ID) {
        const own = sources.get(sourceId)
        // The oldest of the newest: if that is recent, all are.
        if (own && own.length >= FLOOD && isRecent(own[0])) return true
      }
      for (const [other, times] of sources) {
        if (other !== sourceId && (dated || isRecent(times.at(-1)))) return true
      }
      return false
    },
  }
}
