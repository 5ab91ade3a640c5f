import type { ClientTls } from '../outgoing/client-tls.js'
import { type Database, sqlRows } from '../storage/database.js'
import { authorizationContext, tlsKeyContext } from '../streams/stream.js'

/** Where and how the SETs of one stream go; read only, `streams`, `stream_tls` and `receivers` have their own writers. */
export interface StreamTarget {
  readonly streamId: string
  readonly receiverId: string
  readonly shard: number
  readonly version: number
  readonly method: 'push' | 'poll'
  readonly endpointUrl: string | undefined
  /** Value of the Authorization header, opened; undefined: send none. */
  readonly authorization: string | undefined
  /** Whom to believe there and what to show; undefined: the system's authorities, no certificate. */
  readonly tls?: ClientTls
  readonly audience: string
  readonly alg: 'RS256' | 'ES256'
  /** The receiver's switch `accept_any_2xx`. */
  readonly acceptsAny2xx: boolean
  /** False while paused, disabled, or the receiver is disabled. */
  readonly sending: boolean
  /** The hub or an operator stopped it: only its stream-updated may go out (SSF 1.0 §8.1.5). */
  readonly noticesOnly: boolean
}

interface TargetRow {
  stream_id: string
  receiver_id: string
  shard: number
  version: number
  delivery_method: 'push' | 'poll'
  endpoint_url: string | null
  authorization_wrapped: Buffer | null
  tls_origin: string | null
  ca: string | null
  certificate: string | null
  key_wrapped: Buffer | null
  audience: string
  signing_alg: 'RS256' | 'ES256'
  accepts_any_2xx: boolean
  sending: boolean
  notices_only: boolean
}

/** @param openSecret opens a sealed authorization header (KeyService.open) */
export function createStreamTargets(db: Database, openSecret: (sealed: Buffer, context: string) => Buffer) {
  async function read(condition: string, bindings: readonly string[]): Promise<StreamTarget | undefined> {
    const [row] = await sqlRows<TargetRow>(
      db,
      `select s.stream_id, s.receiver_id, s.shard, s.version, s.delivery_method, s.endpoint_url,
         s.authorization_wrapped, t.origin as tls_origin, t.ca, t.certificate, t.key_wrapped, r.audience, r.signing_alg,
         r.compatibility @> '{"accept_any_2xx": true}' as accepts_any_2xx,
         r.enabled and s.status = 'enabled' as sending,
         r.enabled and s.status <> 'enabled' and s.status_by <> 'receiver' as notices_only
       from streams s join receivers r on r.id = s.receiver_id
       left join stream_tls t on t.stream_id = s.stream_id and s.delivery_method = 'push' where ${condition}`,
      bindings,
    )
    return row && toTarget(row)
  }

  /** An operator set it for one origin, and the receiver may have chosen another since. */
  function tlsOf(row: TargetRow): { tls?: ClientTls } {
    const { tls_origin: origin, endpoint_url: url, certificate, key_wrapped: sealed } = row
    if (origin === null || url === null || new URL(url).origin !== origin) return {}
    const key = sealed ? openSecret(sealed, tlsKeyContext(row.stream_id)).toString('utf8') : undefined
    return { tls: { ca: row.ca ?? undefined, certificate: certificate ?? undefined, key } }
  }

  const toTarget = (row: TargetRow): StreamTarget => ({
    streamId: row.stream_id,
    receiverId: row.receiver_id,
    shard: row.shard,
    version: row.version,
    method: row.delivery_method,
    endpointUrl: row.endpoint_url ?? undefined,
    authorization: row.authorization_wrapped
      ? openSecret(row.authorization_wrapped, authorizationContext(row.stream_id)).toString('utf8')
      : undefined,
    ...tlsOf(row),
    audience: row.audience,
    alg: row.signing_alg,
    acceptsAny2xx: row.accepts_any_2xx,
    sending: row.sending,
    noticesOnly: row.notices_only,
  })

  return {
    /** Versions of those that are still there. */
    async versionsOf(streamIds: readonly string[]): Promise<Map<string, number>> {
      const rows = await sqlRows<{ stream_id: string; version: number }>(
        db,
        'select stream_id, version from streams where stream_id = any(?::uuid[])',
        [streamIds],
      )
      return new Map(rows.map((row) => [row.stream_id, row.version]))
    },

    /** Undefined when the stream is gone. */
    find: (streamId: string) => read('s.stream_id = ?', [streamId]),

    /** Undefined when the stream is gone or another receiver's. */
    findOwn: (receiverId: string, streamId: string) =>
      read('s.stream_id = ? and s.receiver_id = ?', [streamId, receiverId]),
  }
}

export type StreamTargets = ReturnType<typeof createStreamTargets>
