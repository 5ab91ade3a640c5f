import { eventIdTimeMs } from '../kernel/ids.js'
import { type Database, sqlRows } from '../storage/database.js'

/** Takes away what enforcement points wrote about these events; what they reported, and when, stays. */
export async function eraseReports(
  db: Database,
  events: readonly { readonly eventId: string; readonly day: string }[],
): Promise<void> {
  const ids = events.map((event) => event.eventId)
  const days = [...new Set(events.map((event) => event.day))]
  const times = ids.map(eventIdTimeMs)
  // The id of an event holds its accept time, so the index by accept time finds its deliveries.
  await sqlRows(
    db,
    `update acknowledgements a set reason = null from deliveries d
     where d.day = any(?::date[]) and d.event_id = any(?::uuid[])
       and d.accepted_at between to_timestamp(?::float8 / 1000) and to_timestamp(?::float8 / 1000)
       and a.stream_id = d.stream_id and a.event_id = d.event_id and a.day = d.day and a.day = any(?::date[])
       and a.reason is not null`,
    [days, ids, Math.min(...times), Math.max(...times) + 1, days],
  )
}
