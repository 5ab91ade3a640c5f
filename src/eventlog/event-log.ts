import { HubError } from '../kernel/errors.js'
import type { Worker } from '../kernel/worker.js'
import type { Lane, SecurityEvent } from '../secevent/event.js'
import type { SqlPlace, Transaction } from '../storage/database.js'

/** The log cannot make an event durable now: the caller answers 503 and the sender keeps its SET. */
export class LogUnavailable extends HubError {
  readonly code = 'ERR_LOG_UNAVAILABLE'
  readonly status = 503
  override readonly failureClass = 'retry' as const

  constructor(message: string, options: { detail?: string; cause?: unknown } = {}) {
    super(message, { retryAfterS: 2, ...options })
  }
}

/** Why a record is not believed. */
export type RejectReason =
  | 'malformed'
  | 'not_signed_by_hub'
  | 'signed_for_another_lane'
  | 'signed_for_another_slot'
  | 'too_old'

/** One record as read. Either a verified event, or what was found instead and why it is not believed. */
export interface LogItem {
  readonly event?: SecurityEvent
  readonly rejected?: { readonly reason: RejectReason; readonly record: Buffer }
}

export interface LogBatch {
  readonly lane: Lane
  readonly from: 'postgres' | 'kafka'
  /** In log order. */
  readonly items: readonly LogItem[]
  /** Rejects with `BatchTaken` when something of the log should go before these items. To be asked once the slots are locked. */
  checkOrder(trx: SqlPlace): Promise<void>
  /**
   * Closes these items inside the transaction that stores their effect. Must be called for every item before
   * the handler resolves (in one or several transactions). Throws `BatchTaken` when another process was faster.
   */
  close(trx: SqlPlace, items: readonly LogItem[]): Promise<void>
}

/** Another process settled these items first: roll back, read again. */
export class BatchTaken extends HubError {
  readonly code = 'ERR_BATCH_TAKEN'
  readonly status = 500
  override readonly failureClass = 'retry' as const
}

/** Resolves when the batch's effect is committed; a rejection gives the batch again later. */
export type BatchHandler = (batch: LogBatch) => Promise<void>

export interface LogHealth {
  ok: boolean
  /** A plain sentence for readiness. */
  reason?: string
}

export interface LogLag {
  lane: Lane
  /** Records not yet fanned out. */
  records: number
  /** Age of the oldest of them, in seconds. */
  oldestAgeS: number
  /** Kafka never told this process what it holds, which is not in these figures. */
  isPartial?: true
}

/** Most records one batch may hold. */
export const MAX_BATCH_RECORDS = 500

/** The contract of every event log. One conformance suite runs on all implementations. */
export interface EventLog {
  /**
   * Checks and prepares what is needed (topics, durability). Throws StartupError for what only a person can
   * change, such as refused credentials, and LogUnavailable when nobody answers now.
   */
  start(): Promise<void>
  /** Resolves when all events are durable, in the given order within a lane and slot. Throws LogUnavailable. */
  append(events: readonly SecurityEvent[]): Promise<void>
  /** Hands batches of one lane to the handler, one at a time per slot. The worker is started by the caller. */
  subscribe(lane: Lane, handler: BatchHandler): Worker
  health(): LogHealth
  lag(): Promise<LogLag[]>
  close(): Promise<void>
}

/**
 * What the hub itself decides is written into the Postgres log inside the deciding transaction, whatever
 * log is configured (fan-out always reads Postgres too).
 */
export interface TransactionalLog {
  appendIn(trx: Transaction, events: readonly SecurityEvent[]): Promise<void>
  /** To be called after that transaction committed. */
  wake(lanes: readonly Lane[]): void
}

/** An event as it is stored: signed, with the place it was signed for. */
export interface LogRecord {
  readonly lane: Lane
  readonly slot: number
  readonly eventId: string
  /** Compact JWS. */
  readonly record: string
}

/** Where a reader found a record. */
export interface RecordPlace {
  readonly lane: Lane
  readonly slot: number
}

/** Signs a record for the log, and believes only what was so signed. */
export interface RecordCodec {
  encode(event: SecurityEvent): LogRecord
  /** Throws `RecordRejected`: not signed by the hub, signed for another place, too old, not a record. */
  decode(record: string, place: RecordPlace): SecurityEvent
  /** Another process may have made a key: reads the keys again. False when that was done a moment ago. */
  refreshKeys(): Promise<boolean>
}

export class RecordRejected extends HubError {
  readonly code = 'ERR_RECORD_REJECTED'
  readonly status = 500
  override readonly failureClass = 'park' as const

  constructor(
    readonly reason: RejectReason,
    /** True when the key is not known here (yet). */
    readonly unknownKey = false,
  ) {
    super(`A record of the event log was not believed: ${reason}.`)
  }
}

/** Which slots this process reads: the storage room's leases, or everything in a process that is alone. */
export interface SlotOwnership {
  owned(): ReadonlyMap<number, unknown>
  onChange(listener: () => void): void
}

/** Wakes other processes; a hint that may be lost. */
export interface LogNotifier {
  notify(channel: string, payload?: string): void
  /** Answers how to stop listening. */
  on(channel: string, listener: (payload: string) => void): () => void
}
