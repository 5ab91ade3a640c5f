import type { ErrorOf, KeptCredentials, StreamPhase, UpstreamStream } from './upstream-stream.js'

/** A row of `upstream_streams`; its repository alone writes it. */
export interface UpstreamStreamRow {
  transmitter_id: string
  issuer: string
  metadata_url: string
  method: 'push' | 'poll'
  events_requested: string[]
  audience_expected: string[]
  credentials: KeptCredentials
  secret_wrapped: Buffer
  authorization_wrapped: Buffer | null
  phase: StreamPhase
  stream_id: string | null
  audience: string[] | null
  events_delivered: string[] | null
  poll_url: string | null
  min_verification_interval_s: number | null
  inactivity_timeout_s: number | null
  status: string | null
  status_reason: string | null
  status_at: Date | null
  verification_requested_at: Date | null
  verified_at: Date | null
  last_poll_at: Date | null
  last_error: string | null
  last_error_of: ErrorOf | null
  last_error_at: Date | null
  leaving_since: Date | null
  version: number
}

export const COLUMNS = `transmitter_id, issuer, metadata_url, method, events_requested, audience_expected, credentials,
  secret_wrapped, authorization_wrapped, phase, stream_id, audience, events_delivered, poll_url,
  min_verification_interval_s, inactivity_timeout_s, status, status_reason, status_at, verification_requested_at,
  verified_at, last_poll_at, last_error, last_error_of, last_error_at, leaving_since, version`

export function toStream(row: UpstreamStreamRow): UpstreamStream {
  return {
    transmitterId: row.transmitter_id,
    issuer: row.issuer,
    metadataUrl: row.metadata_url,
    method: row.method,
    eventsRequested: row.events_requested,
    audienceExpected: row.audience_expected,
    credentials: row.credentials,
    sealedSecret: row.secret_wrapped,
    ...(row.authorization_wrapped && { sealedAuthorization: row.authorization_wrapped }),
    phase: row.phase,
    ...(row.stream_id !== null && { streamId: row.stream_id }),
    ...(row.audience && { audience: row.audience }),
    ...(row.events_delivered && { eventsDelivered: row.events_delivered }),
    ...(row.poll_url !== null && { pollUrl: row.poll_url }),
    ...(row.min_verification_interval_s !== null && {
      minVerificationIntervalS: row.min_verification_interval_s,
    }),
    ...(row.inactivity_timeout_s !== null && { inactivityTimeoutS: row.inactivity_timeout_s }),
    ...(row.status !== null && { status: row.status }),
    ...(row.status_reason !== null && { statusReason: row.status_reason }),
    ...(row.status_at && { statusAt: row.status_at }),
    ...(row.verification_requested_at && { verificationRequestedAt: row.verification_requested_at }),
    ...(row.verified_at && { verifiedAt: row.verified_at }),
    ...(row.last_poll_at && { lastPollAt: row.last_poll_at }),
    ...(row.last_error !== null && { lastError: row.last_error }),
    ...(row.last_error_of !== null && { lastErrorOf: row.last_error_of }),
    ...(row.last_error_at && { lastErrorAt: row.last_error_at }),
    ...(row.leaving_since && { leavingSince: row.leaving_since }),
    version: row.version,
  }
}
