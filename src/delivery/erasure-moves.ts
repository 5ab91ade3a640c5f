import type { Database, Transaction } from '../storage/database.js'
import {
  type Erasure,
  type ErasureCounts,
  type ErasureStep,
  erasureRepository,
} from './erasure-repository.js'
import { type EventRef, fanOutRepository } from './fan-out-repository.js'
import { parkedRepository } from './parked-repository.js'
import { resultRepository } from './result-repository.js'

export interface ErasureMoveOptions {
  readonly db: Database
  /** What enforcement points said about these events. */
  eraseReports(trx: Transaction, events: readonly EventRef[]): Promise<void>
  /** Open work of the stream is gone: what waits in memory must go too. */
  streamChanged(streamId: string): Promise<unknown>
}

type Move = { step?: ErasureStep; cursor?: unknown; counts?: Partial<ErasureCounts> }

/** How an erasure gets on, one transaction at a time. */
export function createErasureMoves(options: ErasureMoveOptions) {
  const { db } = options
  return { advance, wait, eraseEvents }

  /** One transaction: the work, and how far it came. False when another process has gone on meanwhile. */
  async function advance(
    erasure: Erasure,
    move: Move | (() => Move),
    work: (
      trx: Transaction,
    ) => Promise<Partial<ErasureCounts> & { streams?: readonly string[] }> = async () => ({}),
  ): Promise<boolean> {
    const streams = await db.transaction(async (trx) => {
      const now = await erasureRepository.find(trx, erasure.id, { lock: true })
      if (now?.step !== erasure.step || JSON.stringify(now.cursor) !== JSON.stringify(erasure.cursor))
        return undefined
      const { streams: changed = [], ...counted } = await work(trx)
      const { counts, ...rest } = typeof move === 'function' ? move() : move
      await erasureRepository.save(trx, erasure.id, { ...rest, counts: { ...counts, ...counted } })
      return changed
    })
    await Promise.all([...new Set(streams)].map((streamId) => options.streamChanged(streamId)))
    return streams !== undefined
  }

  async function wait(erasure: Erasure): Promise<false> {
    await db.transaction((trx) => erasureRepository.save(trx, erasure.id, { waits: true }))
    return false
  }

  /** Erases what is owed to nobody; the rest is held, or with force ended before. */
  async function eraseEvents(trx: Transaction, { id, force }: Erasure, events: readonly EventRef[]) {
    const ids = events.map((event) => event.eventId)
    const streams = force ? await resultRepository.discardOwed(trx, ids) : []
    const owed = await resultRepository.findOwed(trx, ids)
    const free = events.filter((event) => !owed.has(event.eventId))
    if (free.length > 0) {
      await fanOutRepository.eraseContent(trx, free)
      await resultRepository.eraseFailures(trx, free)
      await parkedRepository.eraseWords(trx, free)
      await options.eraseReports(trx, free)
      await erasureRepository.release(trx, id, free)
    }
    await erasureRepository.hold(
      trx,
      id,
      events.filter((event) => owed.has(event.eventId)),
    )
    return { eventsErased: free.length, deliveriesDiscarded: streams.length, streams }
  }
}
