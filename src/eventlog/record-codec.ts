import type { KeyObject } from 'node:crypto'
import type { Clock } from '../kernel/clock.js'
import { type AccessEffect, LANES, type Lane, type SecurityEvent, type Subject } from '../secevent/event.js'
import { type LogSigningKey, readLogRecord, signLogRecord } from '../secevent/log-record.js'
import { type LogRecord, type RecordCodec, RecordRejected } from './event-log.js'

/** The `aud` of every record: nobody but a reader of the log may take one for a SET of its own. */
export const LOG_AUDIENCE = 'urn:firebreak:event-log'

/** The part of the key service that is needed here. */
export interface LogKeys {
  logSigningKey(): LogSigningKey
  logPublicKeys(): ReadonlyMap<string, KeyObject>
  refresh?(): Promise<unknown>
}

export interface RecordCodecOptions {
  keys: LogKeys
  /** `iss` of the records. */
  issuer: string
  clock: Clock
  /** The dedupe window: an older record could be a repeat that nobody remembers. */
  maxAgeMs: number
}

/** What a record says beside the registered claims. Wire names; docs/kafka.md describes them. */
interface FirebreakClaim {
  lane: Lane
  slot: number
  order_key: string
  effect: AccessEffect
  accepted_at_ms: number
  source_id: string
  source_issuer: string
  source_jti: string
  content_hash: string
  target_stream_id?: string
  quarantine?: string
}

const REMEMBERED = 2048
const REFRESH_COOLDOWN_MS = 1000

export function createRecordCodec(options: RecordCodecOptions): RecordCodec {
  const { keys, issuer, clock, maxAgeMs } = options
  // What this process signed it need not verify when it reads the very same text: 80 µs saved per event.
  const ownRecords = new Map<string, SecurityEvent>()
  let refreshedAtMs = Number.NEGATIVE_INFINITY

  function remember(record: string, event: SecurityEvent): void {
    ownRecords.set(record, event)
    if (ownRecords.size > REMEMBERED) {
      for (const oldest of ownRecords.keys()) {
        ownRecords.delete(oldest)
        break
      }
    }
  }

  function open(record: string): SecurityEvent {
    const own = ownRecords.get(record)
    if (own) {
      ownRecords.delete(record)
      return own
    }
    const reading = readLogRecord(record, (kid) => keys.logPublicKeys().get(kid))
    if (reading.refused === 'unknown_key') throw new RecordRejected('not_signed_by_hub', true)
    if (reading.refused) throw new RecordRejected(reading.refused)
    const event = toEvent(reading.claims)
    if (!event || reading.claims.iss !== issuer || reading.claims.aud !== LOG_AUDIENCE) {
      throw new RecordRejected('malformed')
    }
    return event
  }

  return {
    encode(event): LogRecord {
      const record = signLogRecord(toClaims(event, issuer), keys.logSigningKey())
      remember(record, event)
      return { lane: event.lane, slot: event.slot, eventId: event.eventId, record }
    },
    decode(record, place) {
      const event = open(record)
      if (event.lane !== place.lane) throw new RecordRejected('signed_for_another_lane')
      if (event.slot !== place.slot) throw new RecordRejected('signed_for_another_slot')
      if (clock.now() - event.acceptedAtMs > maxAgeMs) throw new RecordRejected('too_old')
      return event
    },
    async refreshKeys() {
      // Forged key ids must not become a flood of queries.
      if (!keys.refresh || clock.monotonicMs() - refreshedAtMs < REFRESH_COOLDOWN_MS) return false
      refreshedAtMs = clock.monotonicMs()
      await keys.refresh()
      return true
    },
  }
}

function toClaims(event: SecurityEvent, issuer: string): object {
  const firebreak: FirebreakClaim = {
    lane: event.lane,
    slot: event.slot,
    order_key: event.orderKey,
    effect: event.effect,
    accepted_at_ms: event.acceptedAtMs,
    source_id: event.sourceId,
    source_issuer: event.sourceIssuer,
    source_jti: event.sourceJti,
    content_hash: event.contentHash,
    ...(event.targetStreamId === undefined ? {} : { target_stream_id: event.targetStreamId }),
    ...(event.quarantine === undefined ? {} : { quarantine: event.quarantine }),
  }
  return {
    iss: issuer,
    aud: LOG_AUDIENCE,
    iat: Math.floor(event.acceptedAtMs / 1000),
    jti: event.eventId,
    txn: event.txn,
    ...(event.subject === undefined ? {} : { sub_id: event.subject }),
    events: { [event.type]: event.claims },
    firebreak,
  }
}

/** The hub signed it, so its members need no validation; this only tells a record from another SET. */
function toEvent(claims: Readonly<Record<string, unknown>>): SecurityEvent | undefined {
  const own = claims.firebreak as Partial<FirebreakClaim> | undefined
  const entries = typeof claims.events === 'object' && claims.events ? Object.entries(claims.events) : []
  const [entry] = entries
  if (!own || !entry || entries.length !== 1 || typeof claims.jti !== 'string') return undefined
  if (own.lane === undefined || !LANES.includes(own.lane) || !Number.isInteger(own.slot)) return undefined
  const { slot, accepted_at_ms: acceptedAtMs, ...rest } = own as FirebreakClaim
  return {
    eventId: claims.jti,
    acceptedAtMs,
    lane: rest.lane,
    effect: rest.effect,
    type: entry[0],
    ...(claims.sub_id === undefined ? {} : { subject: claims.sub_id as Subject }),
    claims: entry[1] as Record<string, unknown>,
    txn: String(claims.txn),
    sourceId: rest.source_id,
    sourceIssuer: rest.source_issuer,
    sourceJti: rest.source_jti,
    contentHash: rest.content_hash,
    orderKey: rest.order_key,
    slot,
    ...(rest.target_stream_id === undefined ? {} : { targetStreamId: rest.target_stream_id }),
    ...(rest.quarantine === undefined ? {} : { quarantine: rest.quarantine }),
  }
}
