import {
  createPublicKey,
  generateKeyPairSync,
  type JsonWebKey,
  type KeyObject,
  sign,
  verify,
} from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Agent, type Dispatcher } from 'undici'
import { serveCommands } from './command-child.js'

/**
 * The baseline, written to win: verifies, keeps nothing, signs one RS256 SET per stream and posts it, with the pool
 * settings that the hub has. No database, no order, no retry, no repeat check, no schema, no metrics: what is left is
 * what any fan-out must pay.
 */
export interface BareSettings {
  readonly publicJwk: JsonWebKey
  readonly kid: string
  readonly issuer: string
  readonly audience: string
  readonly endpoints: readonly string[]
}

interface Target {
  readonly origin: string
  readonly path: string
  readonly audience: string
}

interface Claims {
  iss: string
  aud: string
  iat: number
  jti: string
  txn: string
  sub_id: object
  events: object
}

const MAX_AGE_S = 3_600
const HEADERS = { 'content-type': 'application/secevent+jwt', accept: 'application/json' }

const agent = new Agent({
  connections: 16,
  pipelining: 1,
  keepAliveTimeout: 90_000,
  keepAliveMaxTimeout: 600_000,
  headersTimeout: 0,
  bodyTimeout: 0,
})
const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
const header = encode('{"alg":"RS256","typ":"secevent+jwt","kid":"bare"}')
const ignoreAnswer: Dispatcher.DispatchHandler = {
  onRequestStart() {},
  onResponseStart() {},
  onResponseData() {},
  onResponseEnd() {},
  onResponseError(_controller, error) {
    process.stderr.write(`bare: ${error.message}\n`)
  },
}

function encode(json: string): string {
  return Buffer.from(json).toString('base64url')
}

/** Answers the claims, or undefined for what must be refused. */
function check(body: string, settings: BareSettings, key: KeyObject): Claims | undefined {
  const first = body.indexOf('.')
  const second = body.indexOf('.', first + 1)
  const head = JSON.parse(Buffer.from(body.slice(0, first), 'base64url').toString()) as Record<
    string,
    unknown
  >
  if (head.alg !== 'ES256' || head.typ !== 'secevent+jwt' || head.kid !== settings.kid) return undefined
  const signature = Buffer.from(body.slice(second + 1), 'base64url')
  const content = Buffer.from(body.slice(0, second))
  if (!verify('sha256', content, { key, dsaEncoding: 'ieee-p1363' }, signature)) return undefined
  const claims = JSON.parse(Buffer.from(body.slice(first + 1, second), 'base64url').toString()) as Claims
  const ageS = Date.now() / 1000 - claims.iat
  const fits = claims.iss === settings.issuer && claims.aud === settings.audience && ageS < MAX_AGE_S
  return fits && Object.keys(claims.events).length === 1 ? claims : undefined
}

function fanOut(claims: Claims, targets: readonly Target[]): void {
  // Only audience and jti differ between receivers, so the rest is rendered once.
  const { txn, sub_id, events } = claims
  const shared = JSON.stringify({ iat: Math.floor(Date.now() / 1000), txn, sub_id, events }).slice(1)
  for (const target of targets) {
    const own = `{"iss":"http://127.0.0.1","aud":"${target.audience}","jti":"${claims.jti}-${target.path.slice(1)}",`
    const content = `${header}.${encode(own + shared)}`
    sign('sha256', Buffer.from(content), privateKey, (error, signature) => {
      if (error) throw error
      const body = `${content}.${signature.toString('base64url')}`
      agent.dispatch(
        { origin: target.origin, path: target.path, method: 'POST', headers: HEADERS, body },
        ignoreAnswer,
      )
    })
  }
}

function takeSets(settings: BareSettings): (req: IncomingMessage, res: ServerResponse) => void {
  const key = createPublicKey({ key: settings.publicJwk, format: 'jwk' })
  const targets = settings.endpoints.map((endpoint, index): Target => {
    const { origin, pathname } = new URL(endpoint)
    return { origin, path: pathname, audience: `urn:bench:receiver:${index}` }
  })
  return (req, res) => {
    const chunks: Buffer[] = []
    req.on('data', (chunk: Buffer) => chunks.push(chunk))
    req.on('end', () => {
      const claims = check(Buffer.concat(chunks).toString('latin1'), settings, key)
      res.writeHead(claims ? 202 : 400, { 'content-length': 0 }).end()
      if (claims) fanOut(claims, targets)
    })
  }
}

serveCommands({
  async serve(settings: BareSettings): Promise<string> {
    const server = createServer({ keepAliveTimeout: 65_000 }, takeSets(settings))
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(0, '127.0.0.1', resolve)
    })
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}/ingest`
  },
})
