import { createHash } from 'node:crypto'

/** SSF 1.0 §8.1.2.1. */
export const STREAM_STATUSES = ['enabled', 'paused', 'disabled'] as const
export type StreamStatus = (typeof STREAM_STATUSES)[number]

/** Who set the status: the receiver's own pause never counts against the hub. */
export type StatusSetter = 'receiver' | 'hub' | 'operator'

/** Why the hub itself paused a stream. `failing`: its endpoint took nothing; once it does, the hub enables it. */
export const STATUS_CAUSES = ['failing', 'inactive'] as const
export type StatusCause = (typeof STATUS_CAUSES)[number]

export type DeliveryMethod = 'push' | 'poll'

/** SSF 1.0 §6.1: the URIs of the two methods on the wire. */
export const METHOD_URI: Record<DeliveryMethod, string> = {
  push: 'urn:ietf:rfc:8935',
  poll: 'urn:ietf:rfc:8936',
}

/** One event stream as stored. */
export interface Stream {
  readonly streamId: string
  readonly receiverId: string
  readonly shard: number
  readonly status: StreamStatus
  readonly statusReason: string | undefined
  readonly statusBy: StatusSetter
  /** Undefined unless the hub paused it. */
  readonly statusCause: StatusCause | undefined
  readonly deliveryMethod: DeliveryMethod
  /** Of a push stream. A poll stream's is made from the issuer and the id. */
  readonly endpointUrl: string | undefined
  /** Sealed under `authorizationContext(streamId)`. */
  readonly authorizationSealed: Buffer | undefined
  /** As sent, unknown types included; undefined when the receiver named none. */
  readonly eventsRequested: readonly string[] | undefined
  readonly eventsDelivered: readonly string[]
  readonly description: string | undefined
  readonly subjectCount: number
  /** Rises with each change: a cache that holds another one is stale. */
  readonly version: number
}

/** What of a stream the receiver decides. */
export interface StreamChoice {
  readonly delivery: DeliveryChoice
  readonly eventsRequested: readonly string[] | undefined
  readonly description: string | undefined
}

export type DeliveryChoice =
  | { readonly method: 'poll' }
  | { readonly method: 'push'; readonly endpointUrl: string; readonly authorizationHeader?: string }

export interface StreamSettings {
  /** Exactly as receivers see it in metadata and SETs. */
  readonly issuer: string
  readonly maxStreamsPerReceiver: number
  /** Advertised and enforced; 0: neither. Seconds. */
  readonly minVerificationIntervalS: number
  /** Index rows (a complex subject has one per member) that a stream may hold. */
  readonly maxSubjectsPerStream: number
  /** How long events still flow after a subject was removed (SSF 1.0 §9.3). Seconds. */
  readonly subjectRemovalGraceS: number
  /** A stream whose receiver is silent for this long is paused, unless the receiver has a time of its own. Seconds; absent: never. */
  readonly inactivityTimeoutS?: number
}

export const SHARD_COUNT = 256

/** The delivery shard that owns a stream, from 0 to below `SHARD_COUNT`: fixed for the stream's life, in every process. */
export function shardOf(streamId: string): number {
  return createHash('sha256').update(streamId).digest().readUInt8(0) % SHARD_COUNT
}

/** Binds a sealed `authorization_header` to its stream, so that one row's secret cannot be moved to another. */
export function authorizationContext(streamId: string): string {
  return `stream:${streamId}:authorization`
}

/** The same for the private key of its client certificate. */
export function tlsKeyContext(streamId: string): string {
  return `stream:${streamId}:tls-key`
}
