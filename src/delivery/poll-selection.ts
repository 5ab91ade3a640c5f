import { LANES } from '../secevent/event.js'
import type { Database } from '../storage/database.js'
import { findOtherCauses } from './other-causes.js'
import { createPendingQueue, type Pending } from './pending-queue.js'
import { type ClaimedDelivery, queueRepository } from './queue-repository.js'

export interface PollRows {
  /** More than were asked for when there are more. */
  readonly rows: readonly ClaimedDelivery[]
  readonly moreAvailable: boolean
}

/**
 * What the next answer of a poll stream is chosen from: lane by lane the oldest, and of the lane that does not fit as a
 * whole a few of each cause. Rows stay until acknowledged, so nothing is marked as taken.
 * @param looksAside asked where a backlog is longer than the answer: whether it is time to look for other causes
 */
export async function selectForPoll(
  db: Database,
  streamId: string,
  { limit, looksAside }: { readonly limit: number; looksAside(): boolean },
): Promise<PollRows> {
  const oldest = await queueRepository.selectForPoll(db, streamId, limit + 1)
  const last = oldest.at(-1)
  if (!last || oldest.length <= limit) return { rows: oldest, moreAvailable: false }
  if (!looksAside()) return { rows: oldest, moreAvailable: true }
  const others = await findOtherCauses(db, {
    streamId,
    lane: last.delivery.lane,
    method: 'poll',
    inHand: oldest.map(({ delivery }) => delivery.eventId),
  })
  return { rows: [...oldest, ...others], moreAvailable: true }
}

type Waiting = Pending & { readonly row: ClaimedDelivery }

/** The order in which rows get into an answer: that in which a push stream would send them. */
export function inTurns(rows: readonly ClaimedDelivery[]): ClaimedDelivery[] {
  const queue = createPendingQueue<Waiting>()
  for (const row of rows) queue.push({ ...row.delivery, bytes: 0, row })
  return LANES.flatMap((lane) => {
    const taken: ClaimedDelivery[] = []
    for (let item = queue.take(lane); item; item = queue.take(lane)) {
      queue.finish(item)
      taken.push(item.row)
    }
    return taken
  })
}
