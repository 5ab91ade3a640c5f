/** What one enforcement point showed; durations in ms. */
export interface PointResult {
  name: string
  method: 'push' | 'poll'
  /** HTTP status of the session's token before the revocation, and at the end. */
  access_before: number
  access_after: number
  /** From the identity provider's decision until this point refused, by the demo's own clock; null: never. */
  refused_after_ms: number | null
  /** From the hub's `GET /v1/time-to-revoke`, which starts when the hub accepted the event. */
  received_ms: number | null
  applied_ms: number | null
  /** A session that was not revoked, at the end. */
  other_session_after: number
}

export interface DemoResult {
  ok: boolean
  /** Why it is not ok, one line each. */
  problems: string[]
  txn: string | null
  points: PointResult[]
  total_ms: number
  /** Processes and folders that outlived the run: nothing. */
  left_behind: string[]
}
