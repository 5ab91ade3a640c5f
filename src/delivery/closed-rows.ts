import type { OpenDelivery } from './open-delivery.js'

type Row = Pick<OpenDelivery, 'eventId' | 'orderKey'>

export interface ClosedRows {
  /** The key of this row's content cannot be had for now. */
  note(row: Row, error: unknown): void
  /** Whether an older row of its subject is closed: it would be passed (SSF 1.0 §8.1.2.1). */
  isBehind(row: Row): boolean
  /** Why the first of them is; undefined when none is. */
  fault(): unknown
}

/**
 * Rows whose content may open later, as when a process was not given the master key of the others. They stay where they
 * are, in the way of nothing but what is newer of their subjects.
 */
export function createClosedRows(): ClosedRows {
  const oldest = new Map<string, string>()
  let fault: unknown
  return {
    note({ eventId, orderKey }, error) {
      fault ??= error
      const known = oldest.get(orderKey)
      if (orderKey !== '' && (known === undefined || eventId < known)) oldest.set(orderKey, eventId)
    },
    isBehind({ eventId, orderKey }) {
      const first = oldest.get(orderKey)
      return first !== undefined && first < eventId
    },
    fault: () => fault,
  }
}
