import type { StreamCredentials, StreamMethod } from '../ingest/stream-plan.js'

/** Credentials as they are kept: the secret is sealed apart. */
export type KeptCredentials =
  | { readonly kind: 'token' }
  | ({ readonly kind: 'client' } & Omit<Extract<StreamCredentials, { clientId: string }>, 'clientSecret'>)

/**
 * `setup`: to be made or changed; `active`: kept; `stopped`: an answer could not be trusted, a person must look;
 * `leaving`: to be deleted there, then forgotten.
 */
export type StreamPhase = 'setup' | 'active' | 'stopped' | 'leaving'

/** A stream that the hub holds at an upstream transmitter. */
export interface UpstreamStream {
  readonly transmitterId: string
  readonly issuer: string
  readonly metadataUrl: string
  readonly method: StreamMethod
  readonly eventsRequested: readonly string[]
  /** One of these must be in the `aud` of the stream; empty: whatever the transmitter assigns. */
  readonly audienceExpected: readonly string[]
  readonly credentials: KeptCredentials
  readonly sealedSecret: Buffer
  readonly sealedAuthorization?: Buffer
  readonly phase: StreamPhase
  readonly streamId?: string
  readonly audience?: readonly string[]
  readonly eventsDelivered?: readonly string[]
  readonly pollUrl?: string
  readonly minVerificationIntervalS?: number
  readonly inactivityTimeoutS?: number
  readonly status?: string
  readonly statusReason?: string
  readonly statusAt?: Date
  readonly verificationRequestedAt?: Date
  readonly verifiedAt?: Date
  readonly lastPollAt?: Date
  readonly lastError?: string
  readonly lastErrorOf?: ErrorOf
  readonly lastErrorAt?: Date
  readonly leavingSince?: Date
  readonly version: number
}

/** What the transmitter answered when the stream was made or changed. */
export interface EstablishedStream {
  readonly streamId: string
  readonly audience: readonly string[]
  /** Absent: the transmitter does not say, though it must. */
  readonly eventsDelivered?: readonly string[]
  readonly pollUrl?: string
  readonly minVerificationIntervalS?: number
  readonly inactivityTimeoutS?: number
}

/** Place of a sealed value, so that it opens nowhere else. */
export const secretContext = (transmitterId: string) => `upstream secret ${transmitterId}`
export const authorizationContext = (transmitterId: string) => `upstream authorization ${transmitterId}`

/** What failed; the next success of the same takes the error away. */
export type ErrorOf = 'setup' | 'status' | 'verification' | 'poll' | 'trust'
