import { eventIdTimeMs } from '../kernel/ids.js'
import type { KnownFact, PreparedEvent } from './fan-out-repository.js'

/** How long an undated fact of another source counts as the same occurrence. */
const UNDATED_MS = 3_600_000

/** Undated statements of one fact within that time, from which on it does not count who makes them. */
const FLOOD = 10

/**
 * Finds the events of a batch that say what was said before (docs/adr/0017): by event id, the events that said it. What
 * has a date is one fact, whoever states it and how often. Without a date two SETs of one source are two statements, as
 * their `jti`s say; only what another source says soon after it is taken for the same. Pure.
 * @param fresh in the order of the log
 * @param known stored before this batch
 */
export function findCopies(
  fresh: readonly PreparedEvent[],
  known: readonly KnownFact[],
): Map<string, readonly KnownFact[]> {
  const said = new Map<string, KnownFact[]>()
  const saidOf = (factHash: string) => said.get(factHash) ?? []
  const note = (one: KnownFact) => said.set(one.factHash, [...saidOf(one.factHash), one])
  for (const one of known) note(one)
  const copies = new Map<string, readonly KnownFact[]>()
  for (const { event, day, fact } of fresh) {
    if (!fact) continue
    const { eventId, sourceId, acceptedAtMs } = event
    const factHash = fact.hash.toString('base64')
    const recent = saidOf(factHash).filter(
      (one) => fact.dated || eventIdTimeMs(one.eventId) > acceptedAtMs - UNDATED_MS,
    )
    // Hubs in a ring that write the event differently on its way are then stopped too.
    const anySource = fact.dated || recent.length >= FLOOD
    const before = recent.filter((one) => anySource || one.sourceId !== sourceId)
    if (before.length > 0) copies.set(eventId, before)
    note({ factHash, sourceId, eventId, day })
  }
  return copies
}

export interface StreamAndEvent {
  readonly streamId: string
  readonly eventId: string
}

export const pairKey = ({ streamId, eventId }: StreamAndEvent): string => `${streamId} ${eventId}`

/**
 * Leaves out deliveries of a fact to streams that got it, before this batch or in it. Pure.
 * @param matched in hub order
 * @param delivered `pairKey` of earlier deliveries
 */
export function withoutCopies<T extends { delivery: StreamAndEvent }>(
  matched: readonly T[],
  copies: ReadonlyMap<string, readonly KnownFact[]>,
  delivered: ReadonlySet<string>,
): T[] {
  const got = new Set(delivered)
  return matched.filter(({ delivery }) => {
    const { streamId, eventId } = delivery
    const before = copies.get(eventId) ?? []
    if (before.some((one) => got.has(pairKey({ streamId, eventId: one.eventId })))) return false
    got.add(pairKey(delivery))
    return true
  })
}
