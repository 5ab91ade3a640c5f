import type { Clock } from '../kernel/clock.js'
import type { OutgoingMethod, OutgoingResponse } from '../outgoing/outgoing.js'
import type { AuthorizedRequest } from './authorized-request.js'
import { jsonOf, unexpected } from './json-answer.js'
import type { SsfEndpoints } from './ssf-endpoints.js'
import { parseConfiguration, type UpstreamConfiguration } from './stream-configuration.js'
import { UpstreamFailed, UpstreamMistrusted } from './upstream-errors.js'

/**
 * `later`: taken, and not done yet (202); `gone`: no such stream (404); `unsupported`: not offered (405);
 * `conflict`: there may be only one stream (409).
 */
export type Refusal = { readonly outcome: 'later' | 'gone' | 'unsupported' | 'conflict' }
export type Outcome<T> = { readonly outcome: 'done'; readonly value: T } | Refusal

/** Only receiver-supplied members: some transmitters refuse the others. */
export interface ConfigurationRequest {
  readonly events_requested: readonly string[]
  readonly description: string
  /** Always there: without it PUT and POST mean a poll stream. */
  readonly delivery: { method: string; endpoint_url?: string; authorization_header?: string }
}

/** SSF 1.0 §8.1. Every method throws UpstreamFailed; those that answer a configuration also UpstreamMistrusted. */
export interface ManagementClient {
  create(request: ConfigurationRequest): Promise<Outcome<UpstreamConfiguration>>
  list(): Promise<Outcome<UpstreamConfiguration[]>>
  read(streamId: string): Promise<Outcome<UpstreamConfiguration>>
  update(streamId: string, request: ConfigurationRequest): Promise<Outcome<UpstreamConfiguration>>
  delete(streamId: string): Promise<Outcome<undefined>>
  readStatus(streamId: string): Promise<Outcome<{ status: string; reason?: string }>>
  verify(streamId: string, state: string): Promise<Outcome<undefined>>
}

export interface ManagementClientOptions {
  endpoints: SsfEndpoints
  issuer: string
  send: AuthorizedRequest
  clock: Pick<Clock, 'now'>
  /** Ends calls that are under way. */
  signal: AbortSignal
}

const DEADLINE_MS = 10_000
const MAX_BYTES = 262_144
const REFUSALS: Readonly<Record<number, Refusal['outcome']>> = {
  202: 'later',
  404: 'gone',
  405: 'unsupported',
  409: 'conflict',
  501: 'unsupported',
}

export function createManagementClient(options: ManagementClientOptions): ManagementClient {
  const { endpoints, issuer, send, clock } = options

  async function call<T>(
    what: string,
    [method, url, body]: [OutgoingMethod, string, object?],
    read: (answer: OutgoingResponse) => T,
  ): Promise<Outcome<T>> {
    const answer = await send(what, {
      url,
      method,
      headers: { accept: 'application/json', ...(body && { 'content-type': 'application/json' }) },
      ...(body && { body: JSON.stringify(body) }),
      deadlineMs: DEADLINE_MS,
      maxBytes: MAX_BYTES,
      pool: 'metadata',
      signal: options.signal,
    })
    const refusal = REFUSALS[answer.status]
    if (refusal) return { outcome: refusal }
    if (answer.status < 200 || answer.status > 299) throw unexpected(what, answer, clock.now())
    return { outcome: 'done', value: read(answer) }
  }

  const configuration = (answer: OutgoingResponse) => parseConfiguration(jsonOf(answer), issuer)
  const about = (url: string, streamId: string) => withQuery(url, 'stream_id', streamId)
  const missing: Refusal = { outcome: 'unsupported' }

  return {
    create: (request) =>
      call('Creating the stream', ['POST', endpoints.configuration, request], configuration),
    list: () =>
      call('Listing the streams', ['GET', endpoints.configuration], (answer) =>
        // Some answer a single stream as it is.
        [jsonOf(answer) ?? []].flat().flatMap((stream) => parseListed(stream, issuer)),
      ),
    read: (streamId) =>
      call('Reading the stream', ['GET', about(endpoints.configuration, streamId)], configuration),
    update: (streamId, request) =>
      call(
        'Changing the stream',
        ['PATCH', endpoints.configuration, { stream_id: streamId, ...request }],
        configuration,
      ),
    delete: (streamId) =>
      call('Deleting the stream', ['DELETE', about(endpoints.configuration, streamId)], () => undefined),
    async readStatus(streamId) {
      if (endpoints.status === undefined) return missing
      return await call('Reading the status', ['GET', about(endpoints.status, streamId)], (answer) => {
        const { status, reason } = (jsonOf(answer) ?? {}) as { status?: unknown; reason?: unknown }
        if (typeof status !== 'string')
          throw new UpstreamFailed('Reading the status: the answer has no "status".')
        return { status: clip(status), ...(typeof reason === 'string' && { reason: clip(reason) }) }
      })
    },
    async verify(streamId, state) {
      if (endpoints.verification === undefined) return missing
      const body = { stream_id: streamId, state }
      return await call('Asking for a verification', ['POST', endpoints.verification, body], () => undefined)
    },
  }
}

/** What is not ours to judge is passed over: other streams of the same credentials may be of any kind. */
function parseListed(stream: unknown, issuer: string): UpstreamConfiguration[] {
  try {
    return [parseConfiguration(stream, issuer)]
  } catch (error) {
    if (error instanceof UpstreamFailed || error instanceof UpstreamMistrusted) return []
    throw error
  }
}

/** The transmitter's own query stays. */
function withQuery(url: string, name: string, value: string): string {
  const full = new URL(url)
  full.searchParams.set(name, value)
  return full.href
}

/** For the table and a person's screen. */
export function clip(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: what a stranger sent must not move a cursor
  return text.replace(/[\u0000-\u001f\u007f-\u009f]+/g, ' ').slice(0, 500)
}
