import type { Database } from '../storage/database.js'
import type { IssuerMetadata } from './discovery.js'

export type StreamMethod = 'push' | 'poll'

/** How the hub gets into the transmitter's management API: a token for good, or OAuth 2.0 client credentials. */
export type StreamCredentials =
  | { readonly token: string }
  | {
      readonly clientId: string
      readonly clientSecret: string
      readonly tokenEndpoint?: string
      /** Its metadata (RFC 8414) name the token endpoint. Neither given: the SSF issuer itself. */
      readonly authorizationServer?: string
      /** Absent: what the authorization server says, else client_secret_basic. */
      readonly authMethod?: 'client_secret_basic' | 'client_secret_post'
      readonly scope?: string
    }

/** The stream that the hub is to hold at a transmitter (SSF 1.0 §8.1.1). */
export interface StreamPlan {
  readonly method: StreamMethod
  /** Absent: every type that the hub acts on. */
  readonly eventsRequested?: readonly string[]
  readonly credentials: StreamCredentials
}

/** What a person sees of such a stream; never a secret. */
export interface StreamView {
  readonly method: StreamMethod
  readonly eventsRequested: readonly string[]
  readonly credentials: Omit<Record<string, unknown>, 'secret'>
  /** `setup`: being made or changed; `stopped`: its answers cannot be trusted, nothing more is asked until a change. */
  readonly phase: 'setup' | 'active' | 'stopped' | 'leaving'
  readonly streamId?: string
  readonly audience?: readonly string[]
  readonly eventsDelivered?: readonly string[]
  /** Requested and not delivered. */
  readonly eventsMissing: readonly string[]
  readonly status?: string
  readonly statusReason?: string
  readonly statusAt?: Date
  readonly verificationRequestedAt?: Date
  readonly verifiedAt?: Date
  readonly lastPollAt?: Date
  readonly lastError?: string
  readonly lastErrorAt?: Date
}

/** What transmitters need of the streams that the hub holds at them; supplied by the hub. */
export interface UpstreamStreams {
  /** Before anything is stored. @throws AddressRefused, InvalidRequest */
  check(plan: StreamPlan, found: IssuerMetadata): Promise<void>
  /**
   * Writes the wish in the caller's transaction; the stream follows later.
   * @param wish.audience of which the stream must have one
   * @returns the Authorization header with which the transmitter will push; undefined for a poll stream
   */
  put(trx: Database, wish: StreamWish): Promise<string | undefined>
  /** In the caller's transaction: the stream is to be deleted there. */
  leave(trx: Database, transmitterId: string): Promise<void>
  /** Asks for a verification round trip. @returns false when there is no stream */
  requestVerification(trx: Database, transmitterId: string): Promise<boolean>
  views(transmitterIds: readonly string[]): Promise<ReadonlyMap<string, StreamView>>
  /** After the commit. */
  wake(): void
}

export interface StreamWish {
  readonly transmitterId: string
  readonly issuer: string
  readonly metadataUrl: string
  /** Absent: as before, at first whatever the transmitter assigns. */
  readonly audience?: readonly string[]
  readonly authorizationHeader?: string
  readonly plan: StreamPlan
}
