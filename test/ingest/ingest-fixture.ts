import { createHmac, generateKeyPairSync, type KeyObject, randomUUID, sign as signBytes } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createHttpServer } from '../../src/http/server.js'
import type { Transmitter } from '../../src/ingest/transmitter.js'
import type { Clock } from '../../src/kernel/clock.js'
import { type LogFields, type Logger, silentLogger } from '../../src/kernel/logger.js'
import type { SecurityEvent } from '../../src/secevent/event.js'
import { CAEP } from '../../src/secevent/event-types.js'

export const ISSUER = 'https://idp.example'
export const AUDIENCE = 'https://hub.example'
export const TRANSMITTER_ID = '0193a6f0-0000-7000-8000-00000000000a'

/** RSA-2048 costs a while to make: one pair serves all tests of a process. */
export const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 })
export const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' })

export function publicJwk(key: KeyObject, members: Record<string, unknown>): Record<string, unknown> {
  return { ...key.export({ format: 'jwk' }), ...members }
}

const encode = (text: string | Buffer) => Buffer.from(text).toString('base64url')

export interface SigningChoice {
  key: KeyObject
  alg: string
}

/** A JWS of exactly these texts, so that a test can spell out what no library would write. */
export function signText(header: string, payload: string | Buffer, { key, alg }: SigningChoice): string {
  const input = `${encode(header)}.${encode(payload)}`
  if (alg === 'none') return `${input}.`
  if (alg.startsWith('HS')) {
    const secret = key.export({ format: 'pem', type: 'spki' })
    return `${input}.${createHmac('sha256', secret).update(input).digest('base64url')}`
  }
  const signingKey = alg.startsWith('ES') ? { key, dsaEncoding: 'ieee-p1363' as const } : key
  return `${input}.${signBytes('sha256', Buffer.from(input), signingKey).toString('base64url')}`
}

export const HEADER = { alg: 'RS256', typ: 'secevent+jwt', kid: 'k1' }

export function claimsOf(more: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    iss: ISSUER,
    aud: AUDIENCE,
    iat: Math.floor(Date.now() / 1000),
    jti: randomUUID(),
    sub_id: { format: 'email', email: 'ada@example.com' },
    events: { [CAEP.sessionRevoked]: { event_timestamp: 1_700_000_000 } },
    ...more,
  }
}

/** A good SET, but for what the arguments change; `undefined` takes a member away. */
export function setOf(claims: Record<string, unknown> = {}, header: Record<string, unknown> = {}): string {
  return signText(JSON.stringify({ ...HEADER, ...header }), JSON.stringify(claimsOf(claims)), {
    key: rsa.privateKey,
    alg: 'RS256',
  })
}

export function transmitterOf(more: Partial<Transmitter> = {}): Transmitter {
  return {
    id: TRANSMITTER_ID,
    name: 'idp',
    issuer: ISSUER,
    jwks: { keys: [publicJwk(rsa.publicKey, { kid: 'k1', use: 'sig', alg: 'RS256' })] },
    audience: [AUDIENCE],
    algorithms: ['RS256'],
    tolerances: {},
    budgetPerS: 100_000,
    urgentTypes: [],
    enabled: true,
    version: 1,
    createdAt: new Date(0),
    updatedAt: new Date(0),
    ...more,
  }
}

/** Time that moves when a test says so. */
export function manualClock(): Clock & { advance(ms: number): void } {
  let offsetMs = 0
  const startMs = Date.now()
  return {
    now: () => startMs + offsetMs,
    monotonicMs: () => 1_000_000 + offsetMs,
    advance(ms) {
      offsetMs += ms
    },
  }
}

/** A log that is a list; `failWith` makes it refuse. */
export function listLog() {
  const events: SecurityEvent[] = []
  return {
    events,
    failWith: undefined as Error | undefined,
    async append(added: readonly SecurityEvent[]) {
      if (this.failWith) throw this.failWith
      events.push(...added)
    },
  }
}

/** A logger that is a list. */
export function listLogger() {
  const lines: { level: string; event: string; fields: LogFields }[] = []
  const keep =
    (level: string) =>
    (event: string, fields: LogFields | (() => LogFields) = {}) =>
      void lines.push({ level, event, fields: typeof fields === 'function' ? fields() : fields })
  const logger: Logger = {
    debug: keep('debug'),
    info: keep('info'),
    warn: keep('warn'),
    error: keep('error'),
  }
  return { lines, logger }
}

export interface TestServer {
  url: string
  port: number
  stop(): Promise<void>
}

export async function serveHandler(
  first: (req: IncomingMessage, res: ServerResponse) => boolean,
): Promise<TestServer> {
  const server = createHttpServer({
    host: '127.0.0.1',
    port: 0,
    first,
    app: (_req, res) => void res.writeHead(418).end(),
    logger: silentLogger,
    drainMs: 100,
  })
  await server.start()
  return { url: `http://127.0.0.1:${server.port()}`, port: server.port(), stop: () => server.stop() }
}
