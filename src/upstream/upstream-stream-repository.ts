import { type Database, sqlRows } from '../storage/database.js'
import type { ErrorOf, EstablishedStream, UpstreamStream } from './upstream-stream.js'
import { COLUMNS, toStream, type UpstreamStreamRow } from './upstream-stream-row.js'

/** What a person wishes; the rest is found out. */
export type StreamTerms = Pick<
  UpstreamStream,
  | 'transmitterId'
  | 'issuer'
  | 'metadataUrl'
  | 'method'
  | 'eventsRequested'
  | 'audienceExpected'
  | 'credentials'
  | 'sealedSecret'
  | 'sealedAuthorization'
>

/** Which row, as of which wish. */
type Ref = Pick<UpstreamStream, 'transmitterId' | 'version'>

/** States older than this are no answer to a request any more. */
const STATES_KEPT = '7 days'
/** And of one transmitter's the newest, so many. */
const MAX_STATES_KEPT = 100

/** Sole writer of `upstream_streams` and `upstream_verifications`. A missing row is `undefined`. */
export const upstreamStreamRepository = {
  async find(db: Database, transmitterId: string): Promise<UpstreamStream | undefined> {
    const rows = await sqlRows<UpstreamStreamRow>(
      db,
      `select ${COLUMNS} from upstream_streams where transmitter_id = ?`,
      [transmitterId],
    )
    return rows[0] && toStream(rows[0])
  },

  async findAll(db: Database, transmitterIds: readonly string[]): Promise<UpstreamStream[]> {
    const rows = await sqlRows<UpstreamStreamRow>(
      db,
      `select ${COLUMNS} from upstream_streams where transmitter_id = any(?::uuid[]) and phase <> 'leaving'`,
      [[...transmitterIds]],
    )
    return rows.map(toStream)
  },

  async listIds(db: Database): Promise<string[]> {
    const rows = await sqlRows<{ transmitter_id: string }>(db, 'select transmitter_id from upstream_streams')
    return rows.map((row) => row.transmitter_id)
  },

  /** How many there are in each state: the phase, or for an active one what the transmitter says and whether it is verified. */
  async countStates(db: Database): Promise<{ state: string; count: number }[]> {
    return await sqlRows(
      db,
      `select case when phase <> 'active' then phase when verified_at is null then 'unverified'
           else coalesce(status, 'enabled') end as state, count(*)::int as count
         from upstream_streams group by 1`,
    )
  },

  /** Writes a wish. Another method or issuer needs another stream state; what is known of the stream itself stays. */
  async put(db: Database, terms: StreamTerms): Promise<void> {
    await db.raw(
      `insert into upstream_streams (transmitter_id, issuer, metadata_url, method, events_requested,
         audience_expected, credentials, secret_wrapped, authorization_wrapped)
       values (?, ?, ?, ?, ?::text[], ?::text[], ?::jsonb, ?, ?)
       on conflict (transmitter_id) do update set issuer = excluded.issuer, metadata_url = excluded.metadata_url,
         method = excluded.method, events_requested = excluded.events_requested,
         audience_expected = excluded.audience_expected, credentials = excluded.credentials,
         secret_wrapped = excluded.secret_wrapped, authorization_wrapped = excluded.authorization_wrapped,
         phase = 'setup', verified_at = null, verification_requested_at = null, last_error = null,
         last_error_of = null, last_error_at = null, leaving_since = null,
         version = upstream_streams.version + 1, updated_at = now()`,
      [
        terms.transmitterId,
        terms.issuer,
        terms.metadataUrl,
        terms.method,
        [...terms.eventsRequested],
        [...terms.audienceExpected],
        JSON.stringify(terms.credentials),
        terms.sealedSecret,
        terms.sealedAuthorization ?? null,
      ],
    )
  },

  async leave(db: Database, transmitterId: string): Promise<void> {
    await db.raw(
      `update upstream_streams set phase = 'leaving', leaving_since = now(), version = version + 1, updated_at = now()
       where transmitter_id = ? and phase <> 'leaving'`,
      [transmitterId],
    )
  },

  async remove(db: Database, { transmitterId, version }: Ref): Promise<void> {
    await db.raw('delete from upstream_streams where transmitter_id = ? and version = ?', [
      transmitterId,
      version,
    ])
  },

  /** @returns false when the wish has changed, or another transmitter holds this stream */
  async establish(db: Database, ref: Ref, stream: EstablishedStream): Promise<boolean> {
    const rows = await sqlRows(
      db,
      `update upstream_streams u set phase = 'active', stream_id = ?, audience = ?::text[], events_delivered = ?::text[],
         poll_url = ?, min_verification_interval_s = ?, inactivity_timeout_s = ?, status = null, status_reason = null,
         status_at = null, verified_at = null, verification_requested_at = null, last_error = null,
         last_error_of = null, last_error_at = null, updated_at = now()
       where transmitter_id = ? and version = ? returning 1`,
      [
        stream.streamId,
        [...stream.audience],
        stream.eventsDelivered ? [...stream.eventsDelivered] : null,
        stream.pollUrl ?? null,
        stream.minVerificationIntervalS ?? null,
        stream.inactivityTimeoutS ?? null,
        ref.transmitterId,
        ref.version,
      ],
    )
    return rows.length > 0
  },

  /** Whether another transmitter of ours holds this stream. */
  async isHeldByAnother(db: Database, stream: UpstreamStream, streamId: string): Promise<boolean> {
    const rows = await sqlRows(
      db,
      'select 1 from upstream_streams where issuer = ? and stream_id = ? and transmitter_id <> ?',
      [stream.issuer, streamId, stream.transmitterId],
    )
    return rows.length > 0
  },

  /**
   * The transmitter does not know the stream any more: it is to be made again.
   * @returns false when that was known, or the wish has changed
   */
  async markGone(db: Database, { transmitterId, version, streamId }: UpstreamStream): Promise<boolean> {
    const rows = await sqlRows(
      db,
      `update upstream_streams set phase = 'setup', stream_id = null, poll_url = null, status = null, status_reason = null,
         status_at = null, verified_at = null, verification_requested_at = null, updated_at = now()
       where transmitter_id = ? and version = ? and phase = 'active' and stream_id = ? returning 1`,
      [transmitterId, version, streamId ?? null],
    )
    return rows.length > 0
  },

  async stop(db: Database, { transmitterId, version }: Ref, error: string): Promise<void> {
    await db.raw(
      `update upstream_streams set phase = 'stopped', last_error = ?, last_error_of = 'trust', last_error_at = now(),
         updated_at = now() where transmitter_id = ? and version = ? and phase <> 'leaving'`,
      [error, transmitterId, version],
    )
  },

  async noteStatus(
    db: Database,
    transmitterId: string,
    { status, reason }: { status: string; reason?: string },
  ): Promise<void> {
    await db.raw(
      `update upstream_streams set status = ?, status_reason = ?, status_at = now(), updated_at = now()
       where transmitter_id = ? and (status is distinct from ? or status_reason is distinct from ?)`,
      [status, reason ?? null, transmitterId, status, reason ?? null],
    )
  },

  /** Takes an error of polls away too, whichever process noted it. */
  async notePoll(db: Database, transmitterId: string): Promise<void> {
    await db.raw(
      `update upstream_streams set last_poll_at = now(),
         last_error = case when last_error_of = 'poll' then null else last_error end,
         last_error_at = case when last_error_of = 'poll' then null else last_error_at end,
         last_error_of = nullif(last_error_of, 'poll')
       where transmitter_id = ?`,
      [transmitterId],
    )
  },

  async noteError(db: Database, transmitterId: string, of: ErrorOf, error: string): Promise<void> {
    await db.raw(
      `update upstream_streams set last_error = ?, last_error_of = ?, last_error_at = now() where transmitter_id = ?`,
      [error, of, transmitterId],
    )
  },

  async clearError(db: Database, transmitterId: string, of: ErrorOf): Promise<void> {
    await db.raw(
      `update upstream_streams set last_error = null, last_error_of = null, last_error_at = null
       where transmitter_id = ? and last_error_of = ?`,
      [transmitterId, of],
    )
  },

  /** @returns false when there is no stream */
  async wishVerification(db: Database, transmitterId: string): Promise<boolean> {
    const rows = await sqlRows(
      db,
      `update upstream_streams set verified_at = null, verification_requested_at = null, updated_at = now()
       where transmitter_id = ? and phase <> 'leaving' returning 1`,
      [transmitterId],
    )
    return rows.length > 0
  },

  /** Before the request leaves: its answer may be here before the request has returned. */
  async addVerification(db: Database, transmitterId: string, stateHash: Buffer): Promise<void> {
    await db.transaction(async (trx) => {
      await trx.raw(
        'update upstream_streams set verification_requested_at = now() where transmitter_id = ?',
        [transmitterId],
      )
      await trx.raw(
        `delete from upstream_verifications v where transmitter_id = ? and (requested_at < now() - ?::interval
           or state_hash in (select state_hash from upstream_verifications where transmitter_id = v.transmitter_id
             order by requested_at desc offset ?))`,
        [transmitterId, STATES_KEPT, MAX_STATES_KEPT - 1],
      )
      await trx.raw('insert into upstream_verifications (transmitter_id, state_hash) values (?, ?)', [
        transmitterId,
        stateHash,
      ])
    })
  },

  /**
   * An answered state stays known: its SET may be repeated.
   * @returns whether the state is one that the hub asked with
   */
  async answerVerification(db: Database, transmitterId: string, stateHash: Buffer): Promise<boolean> {
    const rows = await sqlRows(
      db,
      `with known as (select 1 from upstream_verifications where transmitter_id = ? and state_hash = ?)
       update upstream_streams set verified_at = coalesce(verified_at, now()),
         last_error = case when last_error_of = 'verification' then null else last_error end,
         last_error_at = case when last_error_of = 'verification' then null else last_error_at end,
         last_error_of = nullif(last_error_of, 'verification')
       where transmitter_id = ? and exists (select 1 from known) returning 1`,
      [transmitterId, stateHash, transmitterId],
    )
    return rows.length > 0
  },
}
