import type { StreamMethod } from '../ingest/stream-plan.js'
import { isJsonObject } from '../secevent/canonical-json.js'
import { METHOD_URI } from './ssf-endpoints.js'
import { UpstreamFailed, UpstreamMistrusted } from './upstream-errors.js'

/** A stream's configuration as the transmitter tells it (SSF 1.0 §8.1.1). */
export interface UpstreamConfiguration {
  readonly streamId: string
  readonly audience: readonly string[]
  readonly eventsDelivered?: readonly string[]
  readonly method?: StreamMethod
  readonly endpointUrl?: string
  readonly description?: string
  readonly minVerificationIntervalS?: number
  readonly inactivityTimeoutS?: number
}

const MAX_ID_CHARS = 512
/** A transmitter that names a longer one would never be verified. */
const MAX_VERIFICATION_INTERVAL_S = 86_400
// biome-ignore lint/suspicious/noControlCharactersInRegex: no table takes them, and no screen should
const CONTROL = /[\u0000-\u001f\u007f-\u009f]/

/**
 * Unknown members are ignored.
 * @throws UpstreamMistrusted for another issuer's (SSF 1.0 §8.1.1.1), UpstreamFailed for what is no configuration
 */
export function parseConfiguration(body: unknown, issuer: string): UpstreamConfiguration {
  if (!isJsonObject(body)) {
    throw new UpstreamFailed('The transmitter answered no stream configuration.')
  }
  if (body.iss !== issuer) {
    throw new UpstreamMistrusted(
      'The stream configuration names another "iss" than the metadata; nothing more is asked of this transmitter.',
    )
  }
  const streamId = body.stream_id
  if (
    typeof streamId !== 'string' ||
    streamId === '' ||
    streamId.length > MAX_ID_CHARS ||
    CONTROL.test(streamId)
  ) {
    throw new UpstreamFailed('The stream configuration has no usable "stream_id".')
  }
  const audience = texts([body.aud].flat())
  if (audience.some((name) => CONTROL.test(name))) {
    throw new UpstreamFailed('The stream configuration has control characters in its "aud".')
  }
  const delivery = (body.delivery ?? {}) as Record<string, unknown>
  const method = (['push', 'poll'] as const).find((name) => METHOD_URI[name] === delivery.method)
  const delivered = body.events_delivered
  return {
    streamId,
    audience,
    ...(Array.isArray(delivered) && {
      eventsDelivered: texts(delivered).filter((type) => !CONTROL.test(type)),
    }),
    ...(method && { method }),
    ...(typeof delivery.endpoint_url === 'string' && { endpointUrl: delivery.endpoint_url }),
    ...(typeof body.description === 'string' && { description: body.description }),
    ...seconds('minVerificationIntervalS', body.min_verification_interval, MAX_VERIFICATION_INTERVAL_S),
    ...seconds('inactivityTimeoutS', body.inactivity_timeout),
  }
}

function texts(values: readonly unknown[]): string[] {
  return values.filter((value): value is string => typeof value === 'string' && value !== '').slice(0, 1_000)
}

function seconds(name: string, value: unknown, max = 2 ** 31 - 1): object {
  return typeof value === 'number' && value > 0 ? { [name]: Math.min(Math.ceil(value), max) } : {}
}
