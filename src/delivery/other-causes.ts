import { LANE_NUMBER, type Lane } from '../secevent/event.js'
import { type Database, sqlRows } from '../storage/database.js'
import { CAUSE_BITS } from './cause.js'
import { type ClaimedDelivery, type ClaimedRow, claimOf, MAY_SEND, toClaimed } from './queue-repository.js'

export interface OtherCausesQuery {
  readonly streamId: string
  readonly lane: Lane
  readonly method: 'push' | 'poll'
  /** Events of this stream that are in hand already. */
  readonly inHand: readonly string[]
}

/** Rows of one query. */
const MAX_ROWS = 256
const MAX_SOURCES = 64
/** So many of each cause: the rest comes in later turns. */
const ROWS_PER_CAUSE = 2
/** A cause of which so many wait behind each other is in hand, or rests. */
const LOOK_INTO = 1_000
const END = 2 ** 31 - 1

/** $1 stream, $2 lane, $3 in hand, $4 and $5 where the rounds by source and by cause begin. */
const ROUND = `
  with recursive ${walk({
    name: 'source',
    from: '0',
    to: `${END}`,
    start: `($4::int << ${CAUSE_BITS})`,
    next: `(((found.cause >> ${CAUSE_BITS}) + 1) << ${CAUSE_BITS})`,
    steps: `${MAX_SOURCES}`,
  })},
  sources as (select n, cause >> ${CAUSE_BITS} as number from source where cause is not null),
  chosen as (
    select each.event_id, own.n as turn, sources.n as place
    from sources
    cross join lateral (
      with recursive ${walk({
        name: 'cause',
        from: `(sources.number << ${CAUSE_BITS})`,
        to: `((sources.number + 1) << ${CAUSE_BITS})`,
        start: `((sources.number << ${CAUSE_BITS}) + $5::int)`,
        next: '(found.cause + 1)',
        steps: `(select greatest(4, ${MAX_ROWS} / count(*)) from sources)`,
      })}
      select n, cause from cause where cause is not null
    ) own
    cross join lateral (
      select w.event_id from (
        select q.event_id, q.next_attempt_at, q.queued_at, q.expects from delivery_queue q
        where ${rows('q')} and q.cause = own.cause
        order by q.event_id limit ${LOOK_INTO}
      ) w
      where w.next_attempt_at <= clock_timestamp() and w.event_id not in (select unnest($3::uuid[]))
        and (w.expects = 0 or w.queued_at > (select updated_at from streams where stream_id = $1))
      limit ${ROWS_PER_CAUSE}
    ) each
    order by turn, place limit ${MAX_ROWS}
  )`

/** What may pass older rows of its subject: what tightens, and what the hub says of the stream itself. */
function rows(q: string): string {
  return `${q}.stream_id = $1 and ${q}.lane = $2 and (${q}.effect = 'tightens' or ${q}.expects = 0)`
}

interface Walk {
  readonly name: string
  /** The range of causes; the end is outside. */
  readonly from: string
  readonly to: string
  /** Where in the range to begin: it goes on at its beginning. */
  readonly start: string
  /** The least cause of the next step, after `found.cause`. */
  readonly next: string
  readonly steps: string
}

/** Different causes, an index look-up for each, however many rows they have. */
function walk({ name, from, to, start, next, steps }: Walk): string {
  const first = (low: string, high: string) =>
    `(select q.cause from delivery_queue q where ${rows('q')} and q.cause >= ${low} and q.cause < ${high} order by q.cause limit 1)`
  return `${name} (n, cause, wrapped) as (
      select 1, ${first(start, to)}, false
      union all
      select found.n + 1,
        case when found.cause is null then ${first(from, start)}
          when found.wrapped then ${first(next, start)}
          else ${first(next, to)} end,
        found.wrapped or found.cause is null
      from ${name} found where found.n <= ${steps} and not (found.wrapped and found.cause is null)
    )`
}

/**
 * Due rows of a lane that is too long for one page: a few of each cause, of each source as many, so that whoever stands
 * behind a mass logout has a turn before its end. In no order. Each call begins its rounds elsewhere; what there are
 * more of than it holds comes in another one, or in its place by age.
 *
 * Only what may go before older rows of its subject: the others keep hub order, and come by age. So does all that was
 * queued before the status was last set: what a pause held goes out in order (SSF 1.0 §8.1.2.1, docs/adr/0032). What
 * the hub says of the stream itself is one cause, in order whether or not it was held.
 */
export async function findOtherCauses(db: Database, query: OtherCausesQuery): Promise<ClaimedDelivery[]> {
  const found = await sqlRows<ClaimedRow>(
    db,
    `${ROUND} ${claimOf(query.method)}
     where q.stream_id = $1 and q.lane = $2 and q.event_id in (select event_id from chosen) and ${MAY_SEND}`,
    [
      query.streamId,
      LANE_NUMBER[query.lane],
      [...query.inHand],
      Math.floor(Math.random() * 2 ** 14),
      Math.floor(Math.random() * 2 ** CAUSE_BITS),
    ],
  )
  return found.map(toClaimed)
}
