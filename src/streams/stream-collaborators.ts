import type { Database, Transaction } from '../storage/database.js'

// What this room needs of others, by shape: hub.ts supplies them.

/** A stream's open deliveries: room delivery. */
export interface OpenWork {
  /** Drops them, each with a result of its own. */
  discard(trx: Transaction, streamId: string, outcome: 'deleted' | 'discarded'): Promise<void>
  /** To be called before a paused stream is enabled: what was held of one subject goes out oldest first. */
  putHeldInOrder(trx: Transaction, streamId: string): Promise<void>
}

/** Tells the process that sends for a stream. */
export interface StreamObserver {
  /** Resolves to true once the owner has taken note, to false after 1 s without its word. To be called after the commit. */
  streamChanged(streamId: string): Promise<boolean>
}

/** Secrets and identifiers at rest: room keys. */
export interface StreamKeys {
  seal(plain: string | Buffer, context: string): Buffer
  hmac(purpose: 'subject', data: string): Buffer
}

/** Refuses a URL that requests may not go to: room outgoing. */
export interface UrlGuard {
  checkUrl(url: string): Promise<void>
}

/** Room audit. */
export interface AuditTrail {
  record(
    trx: Database,
    entry: { actor: string; action: string; target?: string; detail?: object },
  ): Promise<void>
}
