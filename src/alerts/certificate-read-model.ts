import { type Database, sqlRows } from '../storage/database.js'
import type { Condition, Probe } from './alert.js'

/** Time to have one issued, also where that takes a change request. */
const WARN_DAYS = 14

interface Row {
  stream_id: string
  receiver: string
  origin: string
  endpoint_url: string
  ends_at: Date
  has_ended: boolean
}

/** Client certificates that the hub shows to receivers and that must be replaced. Only reads. */
export function createCertificateProbe(db: Database): Probe {
  return {
    kinds: ['certificate_ending'],
    async look() {
      const rows = await sqlRows<Row>(
        db,
        `select t.stream_id, r.name as receiver, t.origin, s.endpoint_url, t.certificate_ends_at as ends_at,
           t.certificate_ends_at <= clock_timestamp() as has_ended
         from stream_tls t join streams s on s.stream_id = t.stream_id join receivers r on r.id = s.receiver_id
         where t.certificate_ends_at < clock_timestamp() + make_interval(days => ${WARN_DAYS})
           and s.delivery_method = 'push' and s.status <> 'disabled' and r.enabled`,
      )
      return rows.filter(isShown).map(conditionOf)
    },
  }
}

/** Elsewhere it is not shown: see `origin` in docs/adr/0028. */
const isShown = ({ origin, endpoint_url: url }: Row): boolean => new URL(url).origin === origin

function conditionOf(row: Row): Condition {
  const endsAt = row.ends_at.toISOString()
  return {
    kind: 'certificate_ending',
    object: `stream:${row.stream_id}`,
    summary: `The client certificate for ${row.receiver} ${row.has_ended ? 'ended' : 'ends'} at ${endsAt}.`,
    detail: { stream_id: row.stream_id, receiver: row.receiver, origin: row.origin, ends_at: endsAt },
  }
}
