import { randomUUID } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createRemoteJWKSet, exportJWK, generateKeyPair, jwtVerify, SignJWT } from 'jose'

interface Receiver {
  id: string
  name: string
  secret: string
  audience: string
  tokens: Set<string>
}

export interface MiniStream {
  stream_id: string
  receiver: Receiver
  delivery: { method: string; endpoint_url: string; authorization_header?: string }
  /** jti → SET, not yet acknowledged by a poll. */
  held: Map<string, string>
  acknowledged: string[]
  refused: Record<string, unknown>
  accepted_ms?: number
  received_ms?: number
  applied_ms?: number
}

export interface MiniHubOptions {
  port?: number
  adminToken?: string
  /** Accepts SETs and sends none on. */
  deaf?: boolean
  /** Runs before a report is answered. */
  onReport?(stream: MiniStream): Promise<void>
}

/** Overrides for a SET that must be refused. */
export interface MintChanges {
  audience?: string
  issuer?: string
  jti?: string
  key?: Parameters<SignJWT['sign']>[0]
}

const SESSION_REVOKED = 'https://schemas.openid.net/secevent/caep/event-type/session-revoked'

/** The least hub that strangers cannot tell from one: SSF, OAuth and the documented `/v1` paths, all in memory. */
export async function startMiniHub(options: MiniHubOptions = {}) {
  const { privateKey, publicKey } = await generateKeyPair('RS256')
  const jwks = { keys: [{ ...(await exportJWK(publicKey)), kid: 'hub-1', alg: 'RS256', use: 'sig' }] }
  const transmitters = new Map<
    string,
    { issuer: string; jwks_uri: string; audience: string[]; auth: string }
  >()
  const receivers = new Map<string, Receiver>()
  const streams: MiniStream[] = []
  const server = createServer((req, res) => {
    void readText(req)
      .then((body) => route(req, body))
      .catch((error: Error) => ({ status: 500, body: { message: error.message } }))
      .then((answer) => send(res, answer))
  })
  await new Promise<void>((resolve) => server.listen(options.port ?? 0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`

  async function mint(stream: MiniStream, claims: Record<string, unknown>, changes: MintChanges = {}) {
    const jti = changes.jti ?? randomUUID()
    const set = await new SignJWT(claims)
      .setProtectedHeader({ alg: 'RS256', kid: 'hub-1', typ: 'secevent+jwt' })
      .setIssuer(changes.issuer ?? url)
      .setAudience(changes.audience ?? stream.receiver.audience)
      .setIssuedAt()
      .setJti(jti)
      .sign(changes.key ?? privateKey)
    return { jti, set }
  }

  async function push(stream: MiniStream, set: string, authorization?: string) {
    const { endpoint_url, authorization_header = '' } = stream.delivery
    const response = await fetch(endpoint_url, {
      method: 'POST',
      headers: {
        authorization: authorization ?? authorization_header,
        'content-type': 'application/secevent+jwt',
      },
      body: set,
    })
    const text = await response.text()
    return { status: response.status, body: text === '' ? undefined : (JSON.parse(text) as { err: string }) }
  }

  async function fanOut(claims: Record<string, unknown>) {
    for (const stream of streams) {
      stream.accepted_ms = performance.now()
      const { jti, set } = await mint(stream, claims)
      if (stream.delivery.method.endsWith('8936')) stream.held.set(jti, set)
      else if ((await push(stream, set)).status === 202) stream.received_ms = performance.now()
    }
  }

  async function ingest(id: string, req: IncomingMessage, body: string) {
    const transmitter = transmitters.get(id)
    if (!transmitter || req.headers.authorization !== transmitter.auth) return { status: 401 }
    const keys = createRemoteJWKSet(new URL(transmitter.jwks_uri))
    const expected = { issuer: transmitter.issuer, audience: transmitter.audience, typ: 'secevent+jwt' }
    const { txn, sub_id, events } = (await jwtVerify(body, keys, expected)).payload
    if (!options.deaf) void fanOut({ txn, sub_id, events })
    return { status: 202 }
  }

  async function answerPoll(stream: MiniStream, body: { ack?: string[]; setErrs?: Record<string, unknown> }) {
    for (const jti of body.ack ?? []) {
      stream.held.delete(jti)
      stream.acknowledged.push(jti)
      stream.received_ms ??= performance.now()
    }
    for (const [jti, error] of Object.entries(body.setErrs ?? {})) {
      stream.held.delete(jti)
      stream.refused[jti] = error
    }
    for (let waited = 0; stream.held.size === 0 && waited < 500 && server.listening; waited += 10) {
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
    return { status: 200, body: { sets: Object.fromEntries(stream.held) } }
  }

  async function report(
    receiver: Receiver,
    body: { acknowledgements: { jti: string; stream_id: string }[] },
  ) {
    const results = []
    for (const { jti, stream_id } of body.acknowledgements) {
      const stream = streams.find((one) => one.stream_id === stream_id && one.receiver === receiver)
      if (stream) {
        await options.onReport?.(stream)
        stream.applied_ms ??= performance.now()
      }
      results.push({ jti, result: stream ? 'recorded' : 'unknown' })
    }
    return { status: 200, body: { results } }
  }

  function times(stage: string) {
    const items = streams.map((stream) => {
      const end = stage === 'received' ? stream.received_ms : stream.applied_ms
      const p50_ms = end === undefined ? null : end - (stream.accepted_ms ?? end)
      const point = { id: stream.receiver.id, name: stream.receiver.name }
      return { point, event_type: SESSION_REVOKED, count: 1, pending: end === undefined ? 1 : 0, p50_ms }
    })
    return { status: 200, body: { items } }
  }

  function createReceiver(name: string) {
    const receiver = {
      id: randomUUID(),
      name,
      secret: randomUUID(),
      audience: `aud-${name}`,
      tokens: new Set<string>(),
    }
    receivers.set(receiver.id, receiver)
    const { id, secret, audience } = receiver
    return { status: 201, body: { id, client_id: id, client_secret: secret, audience } }
  }

  function issueToken(receiver: Receiver | undefined) {
    if (!receiver) return { status: 401 }
    const token = randomUUID()
    receiver.tokens.add(token)
    return { status: 201, body: { token, access_token: token, token_type: 'Bearer' } }
  }

  function createStream(receiver: Receiver, body: { delivery: MiniStream['delivery'] }) {
    const stream_id = randomUUID()
    const delivery = { ...body.delivery }
    if (delivery.method.endsWith('8936')) delivery.endpoint_url = `${url}/ssf/poll/${stream_id}`
    streams.push({ stream_id, receiver, delivery, held: new Map(), acknowledged: [], refused: {} })
    return {
      status: 201,
      body: { stream_id, iss: url, aud: receiver.audience, delivery, events_delivered: [] },
    }
  }

  async function route(req: IncomingMessage, text: string): Promise<{ status: number; body?: unknown }> {
    const { pathname, searchParams } = new URL(req.url ?? '/', url)
    const at = `${req.method} ${pathname}`
    const [, , , third = '', fourth] = pathname.split('/')
    if (at === 'GET /.well-known/ssf-configuration') {
      return {
        status: 200,
        body: { issuer: url, jwks_uri: `${url}/jwks`, configuration_endpoint: `${url}/ssf/streams` },
      }
    }
    if (at === 'GET /.well-known/oauth-authorization-server') {
      return { status: 200, body: { token_endpoint: `${url}/oauth/token` } }
    }
    if (at === 'GET /jwks') return { status: 200, body: jwks }
    if (pathname.startsWith('/ingest/')) return ingest(pathname.split('/')[2] ?? '', req, text)
    if (at === 'POST /oauth/token') {
      const [id = '', secret] = Buffer.from(req.headers.authorization?.slice(6) ?? '', 'base64')
        .toString()
        .split(':')
      return issueToken(receivers.get(id)?.secret === secret ? receivers.get(id) : undefined)
    }
    const token = req.headers.authorization?.slice('Bearer '.length) ?? ''
    const receiver = [...receivers.values()].find((one) => one.tokens.has(token))
    const body = text === '' ? {} : JSON.parse(text)
    if (receiver) {
      if (at === 'POST /ssf/streams') return createStream(receiver, body)
      if (at === 'POST /v1/acknowledgements') return report(receiver, body)
      const stream = streams.find((one) => pathname === `/ssf/poll/${one.stream_id}`)
      if (stream) return answerPoll(stream, body)
    }
    if (options.adminToken && token === options.adminToken) {
      if (at === 'POST /v1/receivers') return createReceiver(body.name)
      if (req.method === 'POST' && fourth === 'tokens') return issueToken(receivers.get(third))
      if (at === 'GET /v1/time-to-revoke') return times(searchParams.get('stage') ?? '')
      if (at === 'POST /v1/transmitters') {
        const id = randomUUID()
        transmitters.set(id, { ...body, auth: body.authorization_header })
        return { status: 201, body: { id, ingest_url: `${url}/ingest/${id}` } }
      }
    }
    return { status: 401 }
  }

  return {
    url,
    streams,
    mint,
    push,
    createReceiver,
    close() {
      server.close()
      server.closeAllConnections()
    },
  }
}

async function readText(req: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of req) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks).toString()
}

function send(res: ServerResponse, { status, body }: { status: number; body?: unknown }): void {
  res.writeHead(status, { 'content-type': 'application/json' })
  res.end(body === undefined ? '' : JSON.stringify(body))
}
