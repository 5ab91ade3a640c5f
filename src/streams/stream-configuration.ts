import { endpointUrl } from '../kernel/issuer-url.js'
import { present } from '../kernel/present.js'
import type { EventTypes } from '../secevent/event-types.js'
import type { ReceiverTerms } from './receiver-terms-read-model.js'
import { METHOD_URI, type Stream, type StreamSettings } from './stream.js'

/** A stream's configuration as its receiver sees it (SSF 1.0 §8.1.1). No internal members, nothing null. */
export interface StreamConfiguration {
  stream_id: string
  iss: string
  aud: string
  events_supported: readonly string[]
  events_requested?: readonly string[]
  events_delivered: readonly string[]
  delivery: { method: string; endpoint_url: string }
  min_verification_interval?: number
  inactivity_timeout?: number
  description?: string
}

/** Transmitter-supplied members that a request may repeat, as they came. */
export type ClaimedConfiguration = Partial<
  Record<
    | 'iss'
    | 'aud'
    | 'events_supported'
    | 'events_delivered'
    | 'min_verification_interval'
    | 'inactivity_timeout'
    | 'poll_endpoint_url',
    unknown
  >
>

/** Event types a receiver may have: all that the hub emits, cut by its grants. */
export function eventsSupported(terms: Pick<ReceiverTerms, 'grantEventTypes'>, types: EventTypes): string[] {
  const granted = terms.grantEventTypes && new Set(terms.grantEventTypes)
  return types.supported().filter((type) => !granted || granted.has(type))
}

/** SSF 1.0 §8.1.1 `events_delivered`. Names no type when the receiver requested none (issue 99). */
export function eventsDelivered(
  terms: Pick<ReceiverTerms, 'grantEventTypes'>,
  requested: readonly string[] | undefined,
  types: EventTypes,
): string[] {
  const supported = new Set(eventsSupported(terms, types))
  return [...new Set(requested)].filter((type) => supported.has(type))
}

/** Seconds; undefined: the streams of this receiver may be silent for ever. */
export function inactivityTimeoutOf(
  terms: Pick<ReceiverTerms, 'inactivityTimeoutS'>,
  settings: Pick<StreamSettings, 'inactivityTimeoutS'>,
): number | undefined {
  return (terms.inactivityTimeoutS ?? settings.inactivityTimeoutS) || undefined
}

/** RFC 8936 endpoint, one per stream (SSF 1.0 §6.1.2). */
export function pollUrl(issuer: string, streamId: string): string {
  return endpointUrl(issuer, `/ssf/poll/${streamId}`)
}

/**
 * The push `authorization_header` is left out: it is the receiver's secret, and reading it back would hand it to
 * anyone with `ssf.read` (docs/conformance.md T-48).
 */
export function toConfiguration(
  stream: Stream,
  { terms, types }: { terms: ReceiverTerms; types: EventTypes },
  settings: StreamSettings,
): StreamConfiguration {
  const { issuer } = settings
  return {
    stream_id: stream.streamId,
    iss: issuer,
    aud: terms.audience,
    events_supported: eventsSupported(terms, types),
    events_delivered: stream.eventsDelivered,
    delivery: {
      method: METHOD_URI[stream.deliveryMethod],
      endpoint_url: stream.endpointUrl ?? pollUrl(issuer, stream.streamId),
    },
    ...present({
      events_requested: stream.eventsRequested,
      min_verification_interval: settings.minVerificationIntervalS || undefined,
      inactivity_timeout: inactivityTimeoutOf(terms, settings),
      description: stream.description,
    }),
  }
}

/**
 * Transmitter-supplied members may be sent back on PATCH and PUT and must then equal what stands before the change
 * (SSF 1.0 §8.1.1.3). Arrays are compared as sets, a single audience also with an array of it.
 * @returns the names of members that differ
 */
export function differingMembers(claimed: ClaimedConfiguration, current: StreamConfiguration): string[] {
  const expected: Record<keyof ClaimedConfiguration, unknown> = {
    iss: current.iss,
    aud: current.aud,
    events_supported: current.events_supported,
    events_delivered: current.events_delivered,
    min_verification_interval: current.min_verification_interval,
    inactivity_timeout: current.inactivity_timeout,
    // Only when the stream polled before: a switch to poll cannot know the URL it will get.
    poll_endpoint_url:
      current.delivery.method === METHOD_URI.poll ? current.delivery.endpoint_url : undefined,
  }
  return Object.entries(claimed)
    .filter(
      ([name, value]) =>
        value !== undefined && !sameValue(name, value, expected[name as keyof typeof expected]),
    )
    .map(([name]) => (name === 'poll_endpoint_url' ? 'delivery.endpoint_url' : name))
}

function sameValue(name: string, claimed: unknown, expected: unknown): boolean {
  if (name === 'aud' || Array.isArray(expected)) return sameSet([claimed].flat(), [expected].flat())
  return claimed === expected
}

function sameSet(a: readonly unknown[], b: readonly unknown[]): boolean {
  const [left, right] = [new Set(a), new Set(b)]
  return left.size === right.size && [...left].every((value) => right.has(value))
}
