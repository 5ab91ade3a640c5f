import type { ClaimedDelivery } from './queue-repository.js'

/** Of sealed content in one answer. */
const MAX_ANSWER_BYTES = 1_048_576

/**
 * An answer's `sets` has no order, so a loosening event stays back while a tightening one of its subject is still
 * unacknowledged: the receiver could apply them the wrong way round. So does what is newer of that subject, or it would
 * pass what stays back (SSF 1.0 §8.1.2.1); no revocation is among it, for that would have cancelled the loosening event.
 */
export function withoutOpposites(rows: readonly ClaimedDelivery[]): ClaimedDelivery[] {
  const tightened = new Set(
    rows.filter(({ delivery }) => delivery.effect === 'tightens').map(({ delivery }) => delivery.orderKey),
  )
  const backFrom = new Map<string, string>()
  for (const { delivery } of oldestFirst(rows)) {
    const { effect, orderKey, eventId } = delivery
    if (effect === 'loosens' && tightened.has(orderKey) && !backFrom.has(orderKey))
      backFrom.set(orderKey, eventId)
  }
  return rows.filter(({ delivery }) => {
    const first = backFrom.get(delivery.orderKey)
    return first === undefined || delivery.eventId < first
  })
}

/** Urgent rows are chosen first; what was chosen stands oldest first, for whoever reads `sets` in its order. */
export function oldestFirst(rows: readonly ClaimedDelivery[]): ClaimedDelivery[] {
  return [...rows].sort((a, b) => (a.delivery.eventId < b.delivery.eventId ? -1 : 1))
}

/** As many as fit into one answer, at least one. */
export function withinBytes(rows: readonly ClaimedDelivery[]): ClaimedDelivery[] {
  let bytes = 0
  return rows.filter((row, index) => {
    bytes += row.sealedContent?.length ?? 0
    return index === 0 || bytes <= MAX_ANSWER_BYTES
  })
}
