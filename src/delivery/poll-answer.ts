import type { ClaimedDelivery } from './queue-repository.js'

/** Of sealed content in one answer. */
const MAX_ANSWER_BYTES = 1_048_576

/**
 * An answer's `sets` has no order, so a loosening event stays back while a tightening one of its subject is still
 * unacknowledged: the receiver could apply them the wrong way round.
 */
export function withoutOpposites(rows: readonly ClaimedDelivery[]): ClaimedDelivery[] {
  const tightened = new Set(
    rows.filter(({ delivery }) => delivery.effect === 'tightens').map(({ delivery }) => delivery.orderKey),
  )
  return rows.filter(({ delivery }) => delivery.effect !== 'loosens' || !tightened.has(delivery.orderKey))
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
