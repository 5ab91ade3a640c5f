import type { Subject } from '../secevent/event.js'
import type { Person } from '../secevent/person.js'
import type { Database } from '../storage/database.js'
import type { EventLog } from './event-log.js'
import { eventLogRepository } from './event-log-repository.js'

const PAGE = 500

/** Everything that the log held `sinceS` seconds ago has been fanned out, and Kafka has told that of its part. */
export async function isDrained(log: Pick<EventLog, 'lag'>, sinceS: number): Promise<boolean> {
  const lags = await log.lag()
  return lags.every(
    ({ records, oldestAgeS, isPartial }) => !isPartial && (records === 0 || oldestAgeS < sinceS - 1),
  )
}

/**
 * Deletes records about a person that were fanned out and wait to be copied to Kafka for other readers, who then never
 * see them. Answers how many.
 */
export async function eraseRelayed(db: Database, person: Person): Promise<number> {
  let erased = 0
  for (let after = 0; ; ) {
    const rows = await eventLogRepository.findRelayedAfter(db, after, PAGE)
    const last = rows.at(-1)
    if (!last) return erased
    const theirs = rows.filter(({ record }) => isAbout(person, record)).map(({ id }) => id)
    if (theirs.length > 0) await eventLogRepository.removeRelayed(db, theirs)
    erased += theirs.length
    after = last.id
  }
}

/** The hub's own record: it was believed when it was fanned out, so its signature is not looked at again. */
function isAbout(person: Person, record: string): boolean {
  const claims = JSON.parse(Buffer.from(record.split('.')[1] ?? '', 'base64url').toString()) as {
    sub_id?: Subject
    events?: unknown
  }
  return (
    (claims.sub_id !== undefined && person.isIn(claims.sub_id)) ||
    person.isNamedBy([claims.sub_id, claims.events])
  )
}
