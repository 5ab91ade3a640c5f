import type { TransactionalLog } from '../eventlog/event-log.js'
import { InvalidRequest } from '../kernel/errors.js'
import { eventIdTimeMs, newId } from '../kernel/ids.js'
import { HUB_SOURCE_ID } from '../secevent/event.js'
import type { EventTypes } from '../secevent/event-types.js'
import { createSecurityEvent } from '../secevent/security-event.js'
import { parseSubject } from '../secevent/subject.js'
import { validateEmitted } from '../secevent/validate-event.js'
import type { Database } from '../storage/database.js'
import type { AuditTrail } from './transmitter-service.js'

export interface EmitInput {
  type: string
  subject: unknown
  claims: Record<string, unknown>
  /** Seconds since 1970, when it happened. */
  eventTimestampS?: number
  txn?: string
}

export interface EventService {
  /**
   * An event that an operator states, in the hub's own name: resolves when it and its audit row are durable.
   * @throws InvalidRequest with what is wrong, InvalidSubject
   */
  emit(input: EmitInput, actor: string): Promise<{ txn: string; eventId: string }>
}

export interface EventServiceOptions {
  db: Database
  audit: AuditTrail
  log: TransactionalLog
  nextEventId: () => string
  /** The hub's issuer. */
  issuer: string
  eventTypes: EventTypes
}

export function createEventService(options: EventServiceOptions): EventService {
  const { eventTypes } = options
  return {
    async emit(input, actor) {
      if ((eventTypes.get(input.type)?.family ?? 'SSF') === 'SSF') {
        throw new InvalidRequest('type must be the URI of an event type that GET /v1/event-types lists.')
      }
      const subject = parseSubject(input.subject)
      const claims = withTimestamp(input)
      const problems = validateEmitted(input.type, { claims, subject }, eventTypes)
      if (problems.length > 0) throw new InvalidRequest(problems.join(' '))
      const txn = input.txn ?? newId()
      const eventId = options.nextEventId()
      const event = createSecurityEvent(
        {
          eventId,
          acceptedAtMs: eventIdTimeMs(eventId),
          type: input.type,
          subject,
          claims,
          txn,
          sourceId: HUB_SOURCE_ID,
          sourceIssuer: options.issuer,
          sourceJti: eventId,
        },
        eventTypes,
      )
      const detail = { type: input.type, txn, subject_format: subject.format }
      // In one transaction with its audit row: neither is ever without the other, whatever log is configured.
      await options.db.transaction(async (trx) => {
        await options.audit.record(trx, { actor, action: 'event.emitted', target: eventId, detail })
        await options.log.appendIn(trx, [event])
      })
      options.log.wake([event.lane])
      return { txn, eventId }
    },
  }
}

function withTimestamp({ claims, eventTimestampS }: EmitInput): Record<string, unknown> {
  if (eventTimestampS === undefined) return claims
  if (claims.event_timestamp !== undefined && claims.event_timestamp !== eventTimestampS) {
    throw new InvalidRequest('event_timestamp stands in the event with another value; give it once.')
  }
  return { ...claims, event_timestamp: eventTimestampS }
}
