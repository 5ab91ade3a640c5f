import { setImmediate as nextTurn } from 'node:timers/promises'
import type { Lane } from '../secevent/event.js'
import type { SqlPlace } from '../storage/database.js'
import {
  type BatchHandler,
  type LogBatch,
  type LogItem,
  type RecordCodec,
  RecordRejected,
} from './event-log.js'

/** A record as found: its text (null is a Kafka tombstone) and the slot it was stored under, if that is readable. */
export interface FoundRecord {
  readonly record: Buffer | string | null
  readonly slot: number | undefined
}

/** So many signatures are checked before other work gets its turn: about 4 ms. */
const VERIFIED_PER_TURN = 50

/** Answers one item per record, in order. Throws only when the keys could not be read again: try later. */
export async function readRecords(
  codec: RecordCodec,
  lane: Lane,
  found: readonly FoundRecord[],
): Promise<LogItem[]> {
  const items: LogItem[] = []
  const unknownKeys: number[] = []
  for (const [index, record] of found.entries()) {
    if (index > 0 && index % VERIFIED_PER_TURN === 0) await nextTurn()
    const { item, unknownKey } = readOne(codec, lane, record)
    items.push(item)
    if (unknownKey) unknownKeys.push(index)
  }
  if (unknownKeys.length > 0 && (await codec.refreshKeys())) {
    for (const index of unknownKeys) items[index] = readOne(codec, lane, found[index] as FoundRecord).item
  }
  return items
}

function readOne(codec: RecordCodec, lane: Lane, found: FoundRecord): { item: LogItem; unknownKey: boolean } {
  const bytes = Buffer.from(found.record ?? '')
  try {
    if (found.slot === undefined) throw new RecordRejected('malformed')
    const text = typeof found.record === 'string' ? found.record : bytes.toString('latin1')
    return { item: { event: codec.decode(text, { lane, slot: found.slot }) }, unknownKey: false }
  } catch (error) {
    if (!(error instanceof RecordRejected)) throw error
    return { item: { rejected: { reason: error.reason, record: bytes } }, unknownKey: error.unknownKey }
  }
}

export interface Delivery {
  readonly lane: Lane
  readonly from: LogBatch['from']
  readonly items: readonly LogItem[]
  /** See `LogBatch`; by default nothing can. */
  checkOrder?(trx: SqlPlace): Promise<void>
  /** Settles the items in the log itself, where that is part of the transaction. */
  closeIn?(trx: SqlPlace, items: readonly LogItem[]): Promise<void>
}

/** Hands a batch over. Rejects when the handler does, or when it left items open: they would be lost. */
export async function deliver(delivery: Delivery, handler: BatchHandler): Promise<void> {
  const { lane, from, items } = delivery
  const closed = new Set<LogItem>()
  await handler({
    lane,
    from,
    items,
    checkOrder: async (trx) => delivery.checkOrder?.(trx),
    async close(trx, some) {
      await delivery.closeIn?.(trx, some)
      for (const item of some) closed.add(item)
    },
  })
  const open = items.filter((item) => !closed.has(item)).length
  if (open > 0) throw new Error(`the handler resolved with ${open} of ${items.length} items not closed`)
}
