import { randomUUID } from 'node:crypto'
import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { exportJWK, generateKeyPair, SignJWT } from 'jose'
import { SESSION_REVOKED } from './upstream.js'

export const VERIFICATION = 'https://schemas.openid.net/secevent/ssf/event-type/verification'
export const STREAM_UPDATED = 'https://schemas.openid.net/secevent/ssf/event-type/stream-updated'

/** What is asked of a transmitter, by its purpose. */
export type CallName =
  | 'metadata'
  | 'as-metadata'
  | 'jwks'
  | 'token'
  | 'create'
  | 'list'
  | 'read'
  | 'update'
  | 'delete'
  | 'status'
  | 'set-status'
  | 'verify'
  | 'poll'

export interface TransmitterCall {
  readonly name: CallName
  readonly query: URLSearchParams
  readonly headers: IncomingHttpHeaders
  /** JSON, or the form of a token request. */
  readonly body: Record<string, unknown>
}

export interface TransmitterAnswer {
  status?: number
  body?: unknown
  headers?: Record<string, string>
  /** Ends the connection without an answer. */
  cut?: boolean
}

/** @param usual what it would have done */
type Reaction = (
  call: TransmitterCall,
  usual: () => Promise<TransmitterAnswer>,
) => TransmitterAnswer | undefined | Promise<TransmitterAnswer | undefined>

/** What the transmitter keeps of a stream. */
export interface KeptStream {
  config: Record<string, unknown> & { stream_id: string; delivery: Record<string, unknown> }
  status: string
  /** Not acknowledged yet, in their order. */
  readonly sets: Map<string, string>
}

export interface ScriptedTransmitter {
  readonly url: string
  readonly calls: TransmitterCall[]
  readonly streams: Map<string, KeptStream>
  /** Of the next and all further calls of a kind; undefined: as usual. Taken away with `delete`. */
  readonly react: Partial<Record<CallName, Reaction>>
  /** Acknowledged, in the order of arrival, repeats too. */
  readonly acked: string[]
  readonly refused: Map<string, { err?: string; description?: string }>
  /** Answers of pushes. */
  readonly pushed: { jti: string; status: number; body: string; contentLanguage: string | null }[]
  readonly client: { id: string; secret: string }
  /** Seconds that a token lives. */
  tokenLifeS: number
  /** Tokens that are not taken any more. */
  readonly ended: Set<string>
  called(name: CallName): TransmitterCall[]
  /** A SET in compact form. `claims` replace the usual ones; undefined takes one away. */
  sign(claims: Record<string, unknown>): Promise<string>
  /** Puts one event on the stream, or pushes it. @returns its jti */
  emit(event?: {
    type?: string
    claims?: object
    jti?: string
    set?: Record<string, unknown>
  }): Promise<string>
  /** Puts a SET on the stream as it is. */
  queue(jti: string, set: string): void
  stream(): KeptStream
  close(): Promise<void>
}

const HOLD_MS = 250
const RECEIVER_SUPPLIED = ['events_requested', 'delivery', 'description']
export const AUDIENCE = 'https://hub-below.example'

/**
 * An SSF transmitter that does what the standards say, and is strict where others are; a test makes it misbehave
 * by `react`.
 */
export async function startScriptedTransmitter(): Promise<ScriptedTransmitter> {
  const { publicKey, privateKey } = await generateKeyPair('RS256', { extractable: true })
  const jwk = { ...(await exportJWK(publicKey)), kid: 'k1', alg: 'RS256', use: 'sig' }
  const tokens = new Map<string, number>()
  const closed = new AbortController()
  let url = ''

  const server = createServer((req, res) => {
    const chunks: Buffer[] = []
    req.on('data', (chunk: Buffer) => chunks.push(chunk))
    req.on('end', () => {
      const target = new URL(req.url ?? '/', url)
      const text = Buffer.concat(chunks).toString()
      const call = readCall(`${req.method} ${target.pathname}`, target.searchParams, req.headers, text)
      if (!call) return void res.writeHead(418).end()
      transmitter.calls.push(call)
      void answer(call, res).catch(() => res.destroy())
    })
  })

  async function answer(call: TransmitterCall, res: ServerResponse): Promise<void> {
    const scripted = await transmitter.react[call.name]?.(call, () => usual(call))
    const { status = 200, body, headers, cut } = scripted ?? (await usual(call))
    if (cut) return void res.destroy()
    const text = body === undefined ? '' : typeof body === 'string' ? body : JSON.stringify(body)
    res.writeHead(status, { 'content-type': 'application/json', ...headers }).end(text)
  }

  async function usual(call: TransmitterCall): Promise<TransmitterAnswer> {
    if (call.name === 'metadata') return { body: metadata() }
    if (call.name === 'as-metadata') return { body: { issuer: url, token_endpoint: `${url}/token` } }
    if (call.name === 'jwks') return { body: { keys: [jwk] } }
    if (call.name === 'token') return giveToken(call)
    if (!isAuthorized(call))
      return { status: 401, headers: { 'www-authenticate': 'Bearer error="invalid_token"' } }
    const id = String(call.query.get('stream_id') ?? call.body.stream_id ?? '')
    if (call.name === 'create') return create(call)
    if (call.name === 'list') return { body: [...transmitter.streams.values()].map(({ config }) => config) }
    const stream = transmitter.streams.get(call.name === 'poll' ? (call.query.get('stream') ?? '') : id)
    if (!stream) return { status: 404 }
    return await onStream(call, stream)
  }

  async function onStream(call: TransmitterCall, stream: KeptStream): Promise<TransmitterAnswer> {
    const { config } = stream
    switch (call.name) {
      case 'read':
        return { body: config }
      case 'update':
        return update(call, stream)
      case 'delete':
        transmitter.streams.delete(config.stream_id)
        return { status: 204 }
      case 'status':
        return { body: { stream_id: config.stream_id, status: stream.status } }
      case 'verify': {
        const { state } = call.body
        void transmitter.emit({ type: VERIFICATION, claims: state === undefined ? {} : { state } })
        return { status: 204 }
      }
      case 'poll':
        return await poll(call, stream)
      default:
        return { status: 405 }
    }
  }

  function giveToken(call: TransmitterCall): TransmitterAnswer {
    const { id, secret } = transmitter.client
    const basic = Buffer.from(call.headers.authorization?.replace(/^Basic /, '') ?? '', 'base64').toString()
    // RFC 6749 §2.3.1: both are form-encoded before they are put together.
    const named = basic.split(':').map((part) => new URLSearchParams(`v=${part}`).get('v'))
    const isClient =
      (named[0] === id && named[1] === secret) ||
      (call.body.client_id === id && call.body.client_secret === secret)
    if (!isClient) return { status: 401, body: { error: 'invalid_client' } }
    if (!/ssf\.read/.test(String(call.body.scope))) return { status: 400, body: { error: 'invalid_scope' } }
    const token = randomUUID()
    tokens.set(token, Date.now() + transmitter.tokenLifeS * 1000)
    return { body: { access_token: token, token_type: 'Bearer', expires_in: transmitter.tokenLifeS } }
  }

  function isAuthorized({ headers }: TransmitterCall): boolean {
    const token = headers.authorization?.replace(/^Bearer /, '') ?? ''
    return (tokens.get(token) ?? 0) > Date.now() && !transmitter.ended.has(token)
  }

  function create({ body }: TransmitterCall): TransmitterAnswer {
    const refused = Object.keys(body).filter((name) => !RECEIVER_SUPPLIED.includes(name))
    if (refused.length > 0) return { status: 400, body: { error: `not yours: ${refused.join()}` } }
    const streamId = randomUUID()
    const config = { stream_id: streamId, ...configurationOf(streamId, body) }
    transmitter.streams.set(streamId, { config, status: 'enabled', sets: new Map() })
    return { status: 201, body: config }
  }

  function update({ body }: TransmitterCall, stream: KeptStream): TransmitterAnswer {
    const { stream_id: streamId, ...change } = body
    stream.config = {
      ...stream.config,
      ...configurationOf(String(streamId), { ...stream.config, ...change }),
    }
    return { body: stream.config }
  }

  function configurationOf(streamId: string, body: Record<string, unknown>) {
    const delivery = body.delivery as Record<string, unknown>
    const isPoll = delivery.method === 'urn:ietf:rfc:8936'
    return {
      iss: url,
      aud: AUDIENCE,
      events_requested: body.events_requested,
      events_delivered: body.events_requested,
      description: body.description,
      delivery: isPoll
        ? { ...delivery, endpoint_url: `${url}/poll?stream=${streamId}&tenant=a%20b` }
        : delivery,
      // Nobody defined it: to be ignored.
      colour: 'green',
    }
  }

  /** RFC 8936 §2.4: acknowledges, then waits for SETs a moment. */
  async function poll({ body }: TransmitterCall, { sets }: KeptStream): Promise<TransmitterAnswer> {
    for (const jti of (body.ack as string[] | undefined) ?? []) {
      transmitter.acked.push(jti)
      sets.delete(jti)
    }
    for (const [jti, error] of Object.entries((body.setErrs as object | undefined) ?? {})) {
      transmitter.refused.set(jti, error)
      sets.delete(jti)
    }
    const max = Number(body.maxEvents ?? 100)
    if (max === 0) return { body: { sets: {} } }
    const endsAt = Date.now() + HOLD_MS
    while (sets.size === 0 && Date.now() < endsAt && !closed.signal.aborted) await delay(10)
    const some = [...sets].slice(0, max)
    return { body: { sets: Object.fromEntries(some), moreAvailable: sets.size > some.length } }
  }

  function metadata() {
    return {
      spec_version: '1_0',
      issuer: url,
      jwks_uri: `${url}/jwks`,
      delivery_methods_supported: ['urn:ietf:rfc:8935', 'urn:ietf:rfc:8936'],
      configuration_endpoint: `${url}/streams?tenant=a`,
      status_endpoint: `${url}/status`,
      verification_endpoint: `${url}/verify`,
      colour: 'green',
    }
  }

  async function push(jti: string, set: string, delivery: Record<string, unknown>): Promise<void> {
    const response = await fetch(String(delivery.endpoint_url), {
      method: 'POST',
      headers: {
        'content-type': 'application/secevent+jwt',
        authorization: String(delivery.authorization_header),
      },
      body: set,
    })
    const body = await response.text()
    const contentLanguage = response.headers.get('content-language')
    transmitter.pushed.push({ jti, status: response.status, body, contentLanguage })
    // As a sender that was told to come back.
    if (response.status === 503 && !closed.signal.aborted) {
      await delay(100)
      await push(jti, set, delivery)
    }
  }

  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`

  const transmitter: ScriptedTransmitter = {
    url,
    calls: [],
    streams: new Map(),
    react: {},
    acked: [],
    refused: new Map(),
    pushed: [],
    client: { id: 'hub below', secret: 'canary-secret/+: %21' },
    tokenLifeS: 3_600,
    ended: new Set(),
    called: (name) => transmitter.calls.filter((call) => call.name === name),
    async sign(claims) {
      const now = Math.floor(Date.now() / 1000)
      const usualClaims = { iss: url, aud: AUDIENCE, iat: now, txn: randomUUID() }
      return await new SignJWT({ ...usualClaims, ...claims } as Record<string, unknown>)
        .setProtectedHeader({ alg: 'RS256', kid: 'k1', typ: 'secevent+jwt' })
        .sign(privateKey)
    },
    async emit({ type = SESSION_REVOKED, claims = {}, jti = randomUUID(), set = {} } = {}) {
      const stream = transmitter.stream()
      const isAboutStream = type === VERIFICATION || type === STREAM_UPDATED
      const subject = isAboutStream
        ? { format: 'opaque', id: stream.config.stream_id }
        : { format: 'email', email: 'ada@example.com' }
      const timestamp = isAboutStream ? {} : { event_timestamp: Math.floor(Date.now() / 1000) - 30 }
      const signed = await transmitter.sign({
        jti,
        sub_id: subject,
        events: { [type]: { ...timestamp, ...claims } },
        ...set,
      })
      const { delivery } = stream.config
      if (delivery.method === 'urn:ietf:rfc:8935') await push(jti, signed, delivery)
      else stream.sets.set(jti, signed)
      return jti
    },
    queue(jti, set) {
      transmitter.stream().sets.set(jti, set)
    },
    stream() {
      const [stream] = [...transmitter.streams.values()].slice(-1)
      if (!stream) throw new Error('no stream was made')
      return stream
    },
    async close() {
      closed.abort()
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
  return transmitter
}

const ROUTES: Readonly<Record<string, CallName>> = {
  'GET /.well-known/ssf-configuration': 'metadata',
  'GET /.well-known/oauth-authorization-server': 'as-metadata',
  'GET /jwks': 'jwks',
  'POST /token': 'token',
  'POST /streams': 'create',
  'GET /streams': 'list',
  'PATCH /streams': 'update',
  'DELETE /streams': 'delete',
  'GET /status': 'status',
  'POST /status': 'set-status',
  'POST /verify': 'verify',
  'POST /poll': 'poll',
}

function readCall(
  line: string,
  query: URLSearchParams,
  headers: IncomingHttpHeaders,
  text: string,
): TransmitterCall | undefined {
  const found = ROUTES[line]
  if (!found) return undefined
  const name = found === 'list' && query.has('stream_id') ? 'read' : found
  const isForm = headers['content-type']?.startsWith('application/x-www-form-urlencoded')
  const body = text === '' ? {} : isForm ? Object.fromEntries(new URLSearchParams(text)) : JSON.parse(text)
  return { name, query, headers, body }
}
