import { setTimeout as delay } from 'node:timers/promises'
import type { Clock } from '../kernel/clock.js'
import { describeError } from '../kernel/errors.js'
import type { Logger } from '../kernel/logger.js'
import { createWake } from '../kernel/wake.js'
import type { Health, Worker } from '../kernel/worker.js'
import { type Lane, type SecurityEvent, SLOT_COUNT } from '../secevent/event.js'
import type { Database, SqlPlace } from '../storage/database.js'
import {
  type BatchHandler,
  BatchTaken,
  type LogItem,
  MAX_BATCH_RECORDS,
  type RecordCodec,
  type SlotOwnership,
} from './event-log.js'
import { type OpenRow, eventLogRepository as repository } from './event-log-repository.js'
import { deliver, readRecords } from './log-batch.js'
import type { LogMetrics } from './log-metrics.js'

export interface PostgresReaderOptions {
  lane: Lane
  db: Database
  slots: SlotOwnership
  codec: RecordCodec
  handler: BatchHandler
  /** How often to look without being woken, ms. */
  pollMs: number
  /** Closed rows stay for the relay instead of being deleted. */
  keepForRelay: boolean
  clock: Clock
  logger: Logger
  metrics: LogMetrics
}

/** Reads one lane of the log's table, and takes events that are in no table yet. */
export interface PostgresReader extends Worker {
  /** There may be rows. */
  look(): void
  /**
   * Takes an event of its slots straight into its next batch (docs/adr/0033). True: its effect is committed, so it is as durable as
   * a row would be. False: store it as a row, although its effect may be committed all the same: a repeat is dropped.
   * Undefined: not now.
   */
  offer(event: SecurityEvent): Promise<boolean> | undefined
}

interface Offered {
  readonly item: LogItem
  /** True when it was not settled before. */
  settle(isDone: boolean): boolean
}

/** What was offered is stored behind them, and all of it read at once: no fault. */
class RowsFirst extends BatchTaken {}

/** SQLSTATE: some of the rows were not open any more. */
const DIVISION_BY_ZERO = '22012'
const READ_TIMEOUT_MS = 5_000
/** Far more than are let in at once: in a crowd, too, what came first goes first. */
const MAX_OFFERED = 20_000
/** Whoever waits for a 202 longer than that waits for a row in its stead. */
const OFFER_TIMEOUT_MS = 1_000
const FIRST_BACKOFF_MS = 100
const MAX_BACKOFF_MS = 5_000

/** Takes open rows of its slots in id order, one batch at a time. Goes on after every failure, ever more slowly. */
export function createPostgresReader(options: PostgresReaderOptions): PostgresReader {
  const { lane, db, slots, handler, logger, clock } = options
  const stopping = new AbortController()
  const wake = createWake()
  let failure: { reason: string; sinceMs: number } | undefined
  let running: Promise<void> | undefined
  let offered: Offered[] = []
  /** Rows may have come since the table was last read. */
  let mustLook = true
  let lookedAtMs = Number.NEGATIVE_INFINITY
  /** The table holds more than one batch took. */
  let isBehind = true
  /** What is under way takes longer than anybody shall wait for a 202. */
  let isSlow = false

  async function readRows(): Promise<OpenRow[]> {
    if (!mustLook && clock.monotonicMs() - lookedAtMs < options.pollMs) return []
    const owned = [...slots.owned().keys()]
    mustLook = false
    lookedAtMs = clock.monotonicMs()
    const query = { lane, slots: owned, limit: MAX_BATCH_RECORDS, timeoutMs: READ_TIMEOUT_MS }
    const rows = owned.length === 0 ? [] : await repository.findOpen(db, query)
    isBehind = rows.length === MAX_BATCH_RECORDS
    return rows
  }

  /** Rows first, then what was offered before they were read. */
  async function takeBatch(): Promise<void> {
    let direct = offered.slice(0, MAX_BATCH_RECORDS)
    // What waits behind the batch waits no longer than what is in it.
    const giveUp = setTimeout(() => {
      isSlow = true
      refuse([...direct, ...offered.splice(0)])
    }, OFFER_TIMEOUT_MS)
    try {
      const rows = await readRows()
      if (isBehind) refuse(offered.splice(0))
      direct = isBehind ? [] : direct.slice(0, MAX_BATCH_RECORDS - rows.length)
      offered = offered.slice(direct.length)
      if (rows.length + direct.length > 0) await handle(rows, direct)
    } finally {
      clearTimeout(giveUp)
      isSlow = false
      refuse(direct)
    }
  }

  async function handle(rows: readonly OpenRow[], direct: readonly Offered[]): Promise<void> {
    const read = await readRecords(options.codec, lane, rows)
    const ids = new Map(read.map((item, index) => [item, rows[index]?.id as number]))
    const closeIn = (trx: SqlPlace, some: readonly LogItem[]) => {
      const found = some.filter((item) => ids.has(item))
      return closeRows(trx, found, ids)
    }
    const checkOrder = (trx: SqlPlace) => checkAlone(trx, direct, [...ids.values()])
    const items = [...read, ...direct.map(({ item }) => item)]
    const startedMs = clock.monotonicMs()
    await deliver({ lane, from: 'postgres', items, closeIn, checkOrder }, handler)
    options.metrics.read('postgres', lane, items)
    const done = direct.filter(({ settle }) => settle(true)).length
    if (done > 0) options.metrics.appended('postgres', lane, done, (clock.monotonicMs() - startedMs) / 1000)
  }

  /** A process that takes events without reading any may have stored one of their slots that no word has come of. */
  async function checkAlone(
    trx: SqlPlace,
    direct: readonly Offered[],
    ids: readonly number[],
  ): Promise<void> {
    const slotsOfDirect = [...new Set(direct.flatMap(({ item }) => (item.event ? [item.event.slot] : [])))]
    if (slotsOfDirect.length === 0) return
    if (await repository.hasOthers(trx, { lane, slots: slotsOfDirect, ids })) {
      throw new RowsFirst('Rows came before what was handed over.')
    }
  }

  /** They are stored as rows. A promise that is settled stays as it is. */
  function refuse(some: readonly Offered[]): void {
    for (const { settle } of some) settle(false)
  }

  async function closeRows(
    trx: SqlPlace,
    items: readonly LogItem[],
    ids: Map<LogItem, number>,
  ): Promise<void> {
    if (items.length === 0) return
    const idsOf = (some: readonly LogItem[]) => some.map((item) => ids.get(item) as number)
    // What was not believed must not be passed on to Kafka's readers either.
    const kept = options.keepForRelay ? items.filter((item) => item.event) : []
    const gone = options.keepForRelay ? items.filter((item) => !item.event) : items
    try {
      await repository.close(trx, { gone: idsOf(gone), kept: idsOf(kept) })
    } catch (error) {
      if ((error as { code?: unknown }).code !== DIVISION_BY_ZERO) throw error
      throw new BatchTaken('Another process has settled this batch.', { cause: error })
    }
  }

  async function run(): Promise<void> {
    let backoffMs = FIRST_BACKOFF_MS
    while (!stopping.signal.aborted) {
      try {
        await takeBatch()
        failure = undefined
        backoffMs = FIRST_BACKOFF_MS
        if (isBehind) mustLook = true
        else if (offered.length === 0 && !stopping.signal.aborted) await wake.wait(options.pollMs)
      } catch (error) {
        mustLook = true
        refuse(offered.splice(0))
        if (error instanceof RowsFirst) continue
        note(error)
        // Not cut short by new rows, or a steady flow of them would make this a busy loop.
        await delay(backoffMs * (0.75 + Math.random() / 2), undefined, { signal: stopping.signal }).catch(
          () => {},
        )
        backoffMs = Math.min(backoffMs * 2, MAX_BACKOFF_MS)
      }
    }
  }

  function note(error: unknown): void {
    failure ??= { reason: describeError(error), sinceMs: clock.monotonicMs() }
    options.metrics.handlerFailed('postgres', lane)
    if (error instanceof BatchTaken) logger.debug('log_batch.taken', { log: 'postgres', lane })
    else logger.warn('log_batch.failed', { log: 'postgres', lane, error: describeError(error) })
  }

  function takes(): boolean {
    const isRunning = running !== undefined && !stopping.signal.aborted
    if (!isRunning || isBehind || isSlow || failure || offered.length >= MAX_OFFERED) return false
    // What waits for the relay is a row. So is all while other processes read too: rows of theirs would come first.
    return !options.keepForRelay && slots.owned().size >= SLOT_COUNT
  }

  function look(): void {
    mustLook = true
    wake.ring()
  }

  function health(): Health {
    if (!failure) return { ok: true }
    const forS = (clock.monotonicMs() - failure.sinceMs) / 1000
    return {
      ok: forS < 5,
      reason: `reading ${lane} from Postgres fails for ${forS.toFixed(0)} s: ${failure.reason}`,
    }
  }

  return {
    name: `postgres log ${lane}`,
    async start() {
      slots.onChange(look)
      running = run()
    },
    async stop() {
      stopping.abort()
      wake.ring()
      await running
      refuse(offered.splice(0))
    },
    health,
    look,
    offer(event) {
      if (!takes()) return undefined
      return new Promise((resolve) => {
        let isSettled = false
        const settle = (isDone: boolean): boolean => {
          const isFirst = !isSettled
          isSettled = true
          resolve(isDone)
          return isFirst
        }
        offered.push({ item: { event }, settle })
        wake.ring()
      })
    },
  }
}
