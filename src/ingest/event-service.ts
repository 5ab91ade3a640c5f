import type { EventLog } from '../eventlog/event-log.js'
import { InvalidRequest } from '../kernel/errors.js'
import { eventIdTimeMs, newId } from '../kernel/ids.js'
import { HUB_SOURCE_ID } from '../secevent/event.js'
import { EVENTS_SUPPORTED } from '../secevent/event-types.js'
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
   * An event that an operator states, in the hub's own name: resolves when it is durable.
   * @throws InvalidRequest with everything that is wrong, InvalidSubject, LogUnavailable
   */
  emit(input: EmitInput, actor: string): Promise<{ txn: string; eventId: string }>
}

export interface EventServiceOptions {
  db: Database
  audit: AuditTrail
  log: Pick<EventLog, 'append'>
  nextEventId: () => string
  /** The hub's issuer. */
  issuer: string
}

const SUPPORTED = new Set(EVENTS_SUPPORTED)

export function createEventService(options: EventServiceOptions): EventService {
  return {
    async emit(input, actor) {
      if (!SUPPORTED.has(input.type)) {
        throw new InvalidRequest(
          'type must be the URI of a CAEP or RISC event type; see events_supported in the metadata.',
        )
      }
      const subject = parseSubject(input.subject)
      const claims = withTimestamp(input)
      const problems = validateEmitted(input.type, claims, subject)
      if (problems.length > 0) throw new InvalidRequest(problems.join(' '))
      const txn = input.txn ?? newId()
      // The audit row commits only if the log took the event, and the event is sent only with its row under way.
      return await options.db.transaction(async (trx) => {
        const eventId = options.nextEventId()
        const detail = { type: input.type, txn, subject_format: subject.format }
        await options.audit.record(trx, { actor, action: 'event.emitted', target: eventId, detail })
        const event = createSecurityEvent({
          eventId,
          acceptedAtMs: eventIdTimeMs(eventId),
          type: input.type,
          subject,
          claims,
          txn,
          sourceId: HUB_SOURCE_ID,
          sourceIssuer: options.issuer,
          sourceJti: eventId,
        })
        await options.log.append([event])
        return { txn, eventId }
      })
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
