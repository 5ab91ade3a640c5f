import type { TransactionalLog } from '../eventlog/event-log.js'
import { eventIdTimeMs, newId } from '../kernel/ids.js'
import { present } from '../kernel/present.js'
import { HUB_SOURCE_ID } from '../secevent/event.js'
import { SSF } from '../secevent/event-types.js'
import { createSecurityEvent } from '../secevent/security-event.js'
import type { Transaction } from '../storage/database.js'
import type { StreamStatus } from './stream.js'

export interface FrameworkEventsOptions {
  issuer: string
  log: TransactionalLog
  nextEventId: () => string
}

/** What the hub says about its own streams. Each is durable with the transaction that decided it. */
export interface FrameworkEvents {
  /** SSF 1.0 §8.1.4.1. `state` only when the receiver gave one; the empty string is one too. */
  verification(trx: Transaction, streamId: string, state: string | undefined): Promise<void>
  /** SSF 1.0 §8.1.5. */
  streamUpdated(
    trx: Transaction,
    streamId: string,
    status: StreamStatus,
    reason: string | undefined,
  ): Promise<void>
  /** Wakes fan-out; to be called after the commit. */
  wake(): void
}

export function createFrameworkEvents(options: FrameworkEventsOptions): FrameworkEvents {
  function append(trx: Transaction, type: string, streamId: string, claims: Record<string, unknown>) {
    const eventId = options.nextEventId()
    const event = createSecurityEvent({
      eventId,
      acceptedAtMs: eventIdTimeMs(eventId),
      type,
      subject: { format: 'opaque', id: streamId },
      claims,
      txn: newId(),
      sourceId: HUB_SOURCE_ID,
      sourceIssuer: options.issuer,
      sourceJti: eventId,
      // They change no access, but a receiver waits seconds for them (SSF 1.0 §8.1.4.2), so not behind a routine backlog.
      lane: 'urgent',
      targetStreamId: streamId,
    })
    return options.log.appendIn(trx, [event])
  }

  return {
    verification: (trx, streamId, state) => append(trx, SSF.verification, streamId, present({ state })),
    streamUpdated: (trx, streamId, status, reason) =>
      append(trx, SSF.streamUpdated, streamId, present({ status, reason })),
    wake: () => options.log.wake(['urgent']),
  }
}
