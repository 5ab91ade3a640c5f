import { sqlRows, type Transaction } from '../storage/database.js'

/** 300,000 rows take 1.3 s. */
const STATEMENT_TIMEOUT = '120s'

/** Writer of lanes and due times in `delivery_queue`, beside those that put rows in and take them out. */
export const heldOrderRepository = {
  /**
   * What was held of one subject goes out in the order in which it happened (SSF 1.0 §8.1.2.1): a subject with several
   * rows has them all in its most urgent lane from here on, where age decides (docs/adr/0032), and all are due now: one
   * that waits for another try would be passed by what is newer. For a stream that is about to be enabled, so no look-up
   * is added to any delivery.
   */
  async putInOrder(trx: Transaction, streamId: string): Promise<void> {
    // Of millions of held rows: who cannot be put in order is never enabled.
    await trx.raw(`set local statement_timeout = '${STATEMENT_TIMEOUT}'`)
    // Rows that somebody has in hand are on their way out, and nothing may wait for them here.
    await sqlRows(
      trx,
      `with several as (
         select order_hash, min(lane) as lane from delivery_queue
         where stream_id = ? and order_hash is not null group by order_hash
         having min(lane) < max(lane) or (count(*) > 1 and max(next_attempt_at) > clock_timestamp())
       ), later as materialized (
         select q.lane, q.event_id, several.lane as first
         from delivery_queue q join several on several.order_hash = q.order_hash
         where q.stream_id = ? and (q.lane > several.lane or q.next_attempt_at > clock_timestamp())
         order by q.event_id for update of q skip locked
       )
       update delivery_queue q set lane = later.first, next_attempt_at = least(q.next_attempt_at, clock_timestamp())
       from later
       where q.stream_id = ? and q.lane = later.lane and q.event_id = later.event_id`,
      [streamId, streamId, streamId],
    )
  },
}
