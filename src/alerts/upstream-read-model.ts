import { type Database, sqlRows } from '../storage/database.js'
import type { Condition, Probe } from './alert.js'

interface Row {
  transmitter_id: string
  source: string
  why: 'stopped' | 'paused' | 'disabled' | 'setup' | 'poll'
}

const SAYS: Readonly<Record<Row['why'], (source: string) => string>> = {
  stopped: (source) => `The hub no longer trusts what ${source} answers about its stream there.`,
  paused: (source) => `${source} has paused the hub's stream.`,
  disabled: (source) => `${source} has disabled the hub's stream.`,
  setup: (source) => `The hub gets no stream at ${source}.`,
  poll: (source) => `${source} cannot be polled.`,
}

/**
 * Streams that the hub holds at upstream transmitters and that bring it nothing: revocations of that source do not
 * even arrive. What only fails for a moment waits for `failingMs`. The upstream's own words stay out of it: whoever gets
 * alerts might show them as they are. Only reads.
 */
export function createUpstreamProbe(db: Database, failingMs: number): Probe {
  return {
    kinds: ['upstream_failing'],
    async look() {
      const rows = await sqlRows<Row>(
        db,
        `with found as (
           select u.transmitter_id, t.name as source, case
             when u.phase = 'stopped' then 'stopped'
             when u.phase = 'active' and u.status in ('paused', 'disabled') then u.status
             when u.phase = 'setup' and u.last_error is not null and u.updated_at < since.at then 'setup'
             when u.phase = 'active' and u.last_error_of = 'poll'
               and coalesce(u.last_poll_at, u.updated_at) < since.at then 'poll'
           end as why
           from upstream_streams u join transmitters t on t.id = u.transmitter_id,
             (select clock_timestamp() - ?::float8 * interval '1 millisecond' as at) since
           where t.enabled)
         select * from found where why is not null`,
        [failingMs],
      )
      return rows.map(
        (row): Condition => ({
          kind: 'upstream_failing',
          object: `source:${row.transmitter_id}`,
          summary: SAYS[row.why](row.source),
          detail: {
            transmitter_id: row.transmitter_id,
            source: row.source,
            why: row.why,
          },
        }),
      )
    },
  }
}
