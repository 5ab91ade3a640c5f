import { present } from '../kernel/present.js'
import type { Transaction } from '../storage/database.js'
import type { FrameworkEvents } from './framework-events.js'
import type { Stream, StreamStatus } from './stream.js'
import type { AuditTrail, OpenWork } from './stream-collaborators.js'
import { createStreamRepository, type StatusChange } from './stream-repository.js'

export interface StatusChangeDeps {
  readonly events: FrameworkEvents
  readonly openWork: OpenWork
  readonly audit: AuditTrail
}

/**
 * A disabled stream holds nothing, so open work goes when it is disabled; and again when it is enabled, for what a
 * fan-out under way at that moment still inserted.
 */
export const dropsWork = (from: StreamStatus, to: StreamStatus) =>
  from !== to && (from === 'disabled' || to === 'disabled')

export const letsGo = (from: StreamStatus, to: StreamStatus) => from === 'paused' && to === 'enabled'

/** The hub paused it because its endpoint did nothing but fail. */
export const isPausedForFailing = ({ status, statusBy, statusCause }: Stream) =>
  status === 'paused' && statusBy === 'hub' && statusCause === 'failing'

export function statusAudit(streamId: string, { status, reason, cause }: StatusChange) {
  return {
    action: `stream.${status}`,
    target: `stream:${streamId}`,
    detail: present({ reason, cause }),
  }
}

/**
 * What the hub or an operator decides: with what goes along, and the notice to the receiver (SSF 1.0 §8.1.5). To be called in
 * the transaction that holds the stream; `events.wake` after its commit.
 */
export async function applyByHub(
  trx: Transaction,
  { events, openWork, audit }: StatusChangeDeps,
  current: Stream,
  { actor, ...change }: StatusChange & { actor: string },
): Promise<Stream> {
  const { streamId } = current
  if (dropsWork(current.status, change.status)) await openWork.discard(trx, streamId, 'deleted')
  if (letsGo(current.status, change.status)) await openWork.putHeldInOrder(trx, streamId)
  const stream = await createStreamRepository(trx).saveStatus(streamId, change)
  // After the discard, which must not take the notice with it.
  if (current.status !== change.status)
    await events.streamUpdated(trx, streamId, change.status, change.reason)
  await audit.record(trx, { actor, ...statusAudit(streamId, change) })
  return stream
}
