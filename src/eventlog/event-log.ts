import { HubError } from '../kernel/errors.js'
import type { Worker } from '../kernel/worker.js'
import type { Lane, SecurityEvent } from '../secevent/event.js'
import type { Transaction } from '../storage/database.js'

/** The log cannot make an event durable now: the caller answers 503 and the sender keeps its SET. */
export class LogUnavailable extends HubError {
  readonly code = 'ERR_LOG_UNAVAILABLE'
  readonly status = 503
  override readonly failureClass = 'retry' as const

  constructor(message: string, options: { detail?: string; cause?: unknown } = {}) {
    super(message, { retryAfterS: 2, ...options })
  }
}

/** One record as read. Either a verified event, or what was found instead and why it is not believed. */
export interface LogItem {
  readonly event?: SecurityEvent
  readonly rejected?: { readonly reason: string; readonly record: Buffer }
}

export interface LogBatch {
  readonly lane: Lane
  readonly from: 'postgres' | 'kafka'
  /** In log order. */
  readonly items: readonly LogItem[]
  /**
   * Closes these items inside the transaction that stores their effect. Must be called for every item before
   * the handler resolves (in one or several transactions). Throws `BatchTaken` when another process was faster.
   */
  close(trx: Transaction, items: readonly LogItem[]): Promise<void>
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
}

/** Most records one batch may hold. */
export const MAX_BATCH_RECORDS = 500

/** The contract of every event log. One conformance suite runs on all implementations. */
export interface EventLog {
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

/** Signs a record for the log, and believes only what was so signed. */
export interface RecordCodec {
  encode(event: SecurityEvent): string
  /** Throws `RecordRejected`: bad signature, another lane, too old, not a record. */
  decode(record: Buffer | string, lane: Lane): SecurityEvent
}

export class RecordRejected extends HubError {
  readonly code = 'ERR_RECORD_REJECTED'
  readonly status = 500
  override readonly failureClass = 'park' as const
}
