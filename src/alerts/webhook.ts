import { createHmac } from 'node:crypto'
import type { Clock } from '../kernel/clock.js'
import type { Outgoing } from '../outgoing/outgoing.js'
import { OutgoingFailed } from '../outgoing/outgoing-errors.js'
import { retryAfterMs } from '../outgoing/retry-after.js'
import type { Tell } from './tell.js'

const DEADLINE_MS = 5_000
const MAX_ANSWER_BYTES = 16_384
const MAX_WAIT_MS = 3_600_000

/**
 * Standard Webhooks 1.0.0: HMAC-SHA256 over id, time of the attempt and body, once per secret.
 * @param timestampS seconds since the epoch
 * @returns the value of `webhook-signature`
 */
export function signNotice(
  secrets: readonly Buffer[],
  notice: { id: string; timestampS: number; body: string },
): string {
  const signed = `${notice.id}.${notice.timestampS}.${notice.body}`
  return secrets
    .map((secret) => `v1,${createHmac('sha256', secret).update(signed).digest('base64')}`)
    .join(' ')
}

/** Posts notices. Any 2xx is success; redirects are not followed. */
export function createWebhook(options: {
  url: string
  /** One, or two while it is being replaced. */
  secrets: readonly Buffer[]
  outgoing: Pick<Outgoing, 'request'>
  clock: Pick<Clock, 'now'>
}): Tell {
  const { url, secrets, outgoing, clock } = options
  return async ({ id, body }, signal) => {
    const timestampS = Math.floor(clock.now() / 1000)
    try {
      const { status, headers } = await outgoing.request({
        url,
        method: 'POST',
        headers: {
          'content-type': 'application/json',
          'user-agent': 'firebreak',
          'webhook-id': id,
          'webhook-timestamp': String(timestampS),
          'webhook-signature': signNotice(secrets, { id, timestampS, body }),
        },
        body,
        deadlineMs: DEADLINE_MS,
        maxBytes: MAX_ANSWER_BYTES,
        pool: 'alerts',
        signal,
      })
      if (status >= 200 && status < 300) return { ok: true, status }
      const waitMs = retryAfterMs(headers['retry-after'], clock.now(), MAX_WAIT_MS)
      return {
        ok: false,
        failure: `answered ${status}`,
        status,
        ...(waitMs === undefined ? {} : { waitMs }),
      }
    } catch (error) {
      if (!(error instanceof OutgoingFailed)) throw error
      return { ok: false, failure: error.reason }
    }
  }
}
