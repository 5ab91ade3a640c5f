import { createGroupCommit } from '../kernel/group-commit.js'
import type { ClientTls } from '../outgoing/client-tls.js'
import { type Database, sqlRows } from '../storage/database.js'
import { authorizationContext, tlsKeyContext } from '../streams/stream.js'
import type { Failing } from './endpoint-health.js'
import { FAILURES, type FailureClass } from './failure-class.js'

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
  /** The hub paused it because its endpoint failed: once that takes the notice, the hub enables it. */
  readonly pausedForFailing: boolean
  /** What is on record of its endpoint; undefined: nothing. */
  readonly record: RecordedFailure | undefined
}

export interface RecordedFailure {
  readonly failing: Failing
  /** False: the stream was changed since, so its endpoint has its time anew. */
  readonly isCurrent: boolean
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
  paused_for_failing: boolean
  failure: string | null
  failure_reason: string
  failures: number
  failing_s: number
  failure_s: number
  failed_s: number
  probe_s: number
  failure_version: number
}

/** Opens a sealed authorization header (KeyService.open). */
export type OpenSecret = (sealed: Buffer, context: string) => Buffer

const MAX_TOGETHER = 500

export function createStreamTargets(db: Database, openSecret: OpenSecret) {
  /** One query at a time: when thousands of streams come to this process at once, their targets take one connection. */
  const together = createGroupCommit<string, TargetRow | undefined>({
    maxBatch: MAX_TOGETHER,
    async flush(streamIds) {
      const found = await read('s.stream_id = any(?::uuid[])', [streamIds])
      const byId = new Map(found.map((row) => [row.stream_id, row]))
      return streamIds.map((streamId) => byId.get(streamId))
    },
  })

  async function read(condition: string, bindings: readonly unknown[]): Promise<TargetRow[]> {
    return await sqlRows<TargetRow>(
      db,
      `select s.stream_id, s.receiver_id, s.shard, s.version, s.delivery_method, s.endpoint_url,
         s.authorization_wrapped, t.origin as tls_origin, t.ca, t.certificate, t.key_wrapped, r.audience, r.signing_alg,
         r.compatibility @> '{"accept_any_2xx": true}' as accepts_any_2xx,
         r.enabled and s.status = 'enabled' as sending,
         r.enabled and s.status <> 'enabled' and s.status_by <> 'receiver' as notices_only,
         s.status = 'paused' and s.status_by = 'hub' and s.status_cause is not distinct from 'failing' as paused_for_failing,
         f.class as failure, f.reason as failure_reason, f.failures, f.version as failure_version,
         extract(epoch from f.failing_since)::float8 as failing_s, extract(epoch from f.class_since)::float8 as failure_s,
         extract(epoch from f.last_failed_at)::float8 as failed_s, extract(epoch from f.next_probe_at)::float8 as probe_s
       from streams s join receivers r on r.id = s.receiver_id left join stream_failures f on f.stream_id = s.stream_id
       left join stream_tls t on t.stream_id = s.stream_id and s.delivery_method = 'push' where ${condition}`,
      bindings,
    )
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
    pausedForFailing: row.paused_for_failing,
    record: toRecord(row),
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

    /** Undefined when the stream is gone. Throws when what it was given sealed does not open: that keeps no other from being read. */
    async find(streamId: string): Promise<StreamTarget | undefined> {
      const row = await together.add(streamId)
      return row && toTarget(row)
    },

    /** Undefined when the stream is gone or another receiver's. */
    async findOwn(receiverId: string, streamId: string): Promise<StreamTarget | undefined> {
      const [row] = await read('s.stream_id = ? and s.receiver_id = ?', [streamId, receiverId])
      return row && toTarget(row)
    },
  }
}

function toRecord(row: TargetRow): RecordedFailure | undefined {
  if (row.failure === null) return undefined
  return {
    failing: {
      // A newer release may have named a class that this one does not know.
      failure: row.failure in FAILURES ? (row.failure as FailureClass) : 'unexpected_status',
      reason: row.failure_reason,
      sinceMs: row.failing_s * 1000,
      failureSinceMs: row.failure_s * 1000,
      failures: row.failures,
      lastFailedAtMs: row.failed_s * 1000,
      nextProbeAtMs: row.probe_s * 1000,
      isAgreed: false,
    },
    isCurrent: row.paused_for_failing || row.failure_version === row.version,
  }
}

export type StreamTargets = ReturnType<typeof createStreamTargets>
