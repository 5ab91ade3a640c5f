import type { Outgoing, OutgoingRequest, OutgoingResponse } from '../outgoing/outgoing.js'
import { OutgoingFailed } from '../outgoing/outgoing-errors.js'
import { retryAfterMs } from '../outgoing/retry-after.js'
import { UpstreamFailed } from './upstream-errors.js'

/** A transmitter may ask for patience, and not for ever. */
const MAX_RETRY_AFTER_MS = 3_600_000
const MAX_QUOTED = 200

/** @throws UpstreamFailed with what a person should know, without any secret */
export async function ask(
  outgoing: Pick<Outgoing, 'request'>,
  what: string,
  request: OutgoingRequest,
): Promise<OutgoingResponse> {
  try {
    return await outgoing.request(request)
  } catch (cause) {
    if (!(cause instanceof OutgoingFailed)) throw cause
    throw new UpstreamFailed(`${what}: no usable answer (${cause.reason}).`, {
      cause,
      detail: cause.detail ?? '',
    })
  }
}

/** What it says to a failure may repeat what it was sent: no secret is to come into a row, an answer or the log. */
export function withoutSecrets(answer: OutgoingResponse, secrets: readonly string[]): OutgoingResponse {
  if (answer.status < 300) return answer
  const text = answer.body.toString('utf8')
  const clean = secrets
    .flatMap((secret) => [secret, secret.replace(/^\S+ /, '')])
    .flatMap((secret) => [secret, encodeURIComponent(secret), JSON.stringify(secret).slice(1, -1)])
    .filter((secret) => secret !== '')
    .reduce((rest, secret) => rest.replaceAll(secret, '***'), text)
  return clean === text ? answer : { ...answer, body: Buffer.from(clean) }
}

/** The JSON object or array of an answer; undefined for anything else. */
export function jsonOf(answer: OutgoingResponse): unknown {
  try {
    const value: unknown = JSON.parse(answer.body.toString('utf8'))
    return typeof value === 'object' && value !== null ? value : undefined
  } catch {
    return undefined
  }
}

/**
 * For an answer that nobody expected: its status, how long to wait, and of a failure the first words. A success that
 * is of no use is not quoted: it may be the very secret that was asked for.
 */
export function unexpected(what: string, answer: OutgoingResponse, nowMs: number): UpstreamFailed {
  const waitMs = retryAfterMs(answer.headers['retry-after'], nowMs, MAX_RETRY_AFTER_MS)
  const words = (answer.status < 300 ? '' : answer.body.toString('utf8'))
    .replace(/[^\u0020-\u007e]+/g, ' ')
    .trim()
    .slice(0, MAX_QUOTED)
  return new UpstreamFailed(`${what}: status ${answer.status}${words ? `, ${words}` : ''}.`, {
    answered: answer.status,
    ...(waitMs !== undefined && { retryAfterS: waitMs / 1000 }),
  })
}
