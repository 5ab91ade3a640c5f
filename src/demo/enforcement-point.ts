import { randomBytes, timingSafeEqual } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { createRemoteJWKSet, jwtVerify } from 'jose'
import { announceFailure, announceReady, receiveSettings } from './child-side.js'
import { type LocalAnswer, serveLocally } from './local-http.js'
import { createRevocationList } from './revocation-list.js'
import { createSetHandler, SESSION_REVOKED, type SetRefusal } from './set-handler.js'
import * as ssf from './ssf-receiver.js'

/** One enforcement point of the demo: an API that refuses a session's token once the hub said it is revoked. */
export interface EnforcementPointSettings {
  name: string
  hubIssuer: string
  credentials: ssf.Credentials
  method: 'push' | 'poll'
  applyDelayMs: number
  /** Who issues the sessions this API accepts. */
  sessions: { issuer: string; jwksUri: string; audience: string }
}

type AcceptSet = (token: string) => Promise<SetRefusal | undefined>

const METHOD_URN = { push: 'urn:ietf:rfc:8935', poll: 'urn:ietf:rfc:8936' } as const
const POLL_RETRY_MS = 250

async function run(settings: EnforcementPointSettings): Promise<void> {
  const revocations = createRevocationList()
  const guardResource = createResource(settings, revocations.isRevoked)
  // The first push may come before the answer to the request that created the stream.
  let subscribed: (accept: AcceptSet) => void = () => {}
  const acceptor = new Promise<AcceptSet>((resolve) => {
    subscribed = resolve
  })
  const push = {
    path: `/events/${randomBytes(16).toString('hex')}`,
    secret: `Bearer ${randomBytes(24).toString('hex')}`,
  }

  const api = await serveLocally(async (request, body) => {
    if (request.method === 'GET' && request.url === '/resource') return guardResource(request)
    if (request.method === 'POST' && request.url === push.path) {
      return answerPush(await acceptor, { request, body, secret: push.secret })
    }
    return { status: 404 }
  })

  const metadata = await ssf.discover(settings.hubIssuer)
  const token = await ssf.getAccessToken(settings.hubIssuer, settings.credentials)
  const session = { issuer: settings.hubIssuer, token }
  const stream = await ssf.createStream(session, metadata, {
    events_requested: [SESSION_REVOKED],
    description: `demo ${settings.name}`,
    delivery: {
      method: METHOD_URN[settings.method],
      ...(settings.method === 'push' && {
        endpoint_url: api.url + push.path,
        authorization_header: push.secret,
      }),
    },
  })
  const accept = createSetHandler({
    jwksUri: metadata.jwks_uri,
    stream,
    revocations,
    applyDelayMs: settings.applyDelayMs,
    report: (jti) => ssf.reportApplied(session, jti, stream.stream_id),
    onProblem: announceFailure,
  })
  subscribed(accept)
  if (settings.method === 'poll') void pollForEver(session, stream.delivery.endpoint_url, accept)
  announceReady({ url: api.url, streamId: stream.stream_id })
}

/** `GET /resource`: a valid session token, and not revoked. */
function createResource(
  { sessions, name }: EnforcementPointSettings,
  isRevoked: (claims: object) => boolean,
) {
  const keys = createRemoteJWKSet(new URL(sessions.jwksUri))
  return async (request: IncomingMessage): Promise<LocalAnswer> => {
    const token = /^Bearer (\S+)$/.exec(request.headers.authorization ?? '')?.[1]
    if (!token) return { status: 401, headers: { 'www-authenticate': 'Bearer' } }
    const { issuer, audience } = sessions
    const expected = { issuer, audience, typ: 'at+jwt', algorithms: ['RS256'] }
    const verified = await jwtVerify(token, keys, expected).catch(() => undefined)
    if (!verified) return refuse('the token is not valid')
    if (isRevoked(verified.payload)) return refuse('the session was revoked')
    return { status: 200, body: { from: name, user: verified.payload.sub } }
  }
}

function refuse(why: string): LocalAnswer {
  const challenge = `Bearer error="invalid_token", error_description="${why}"`
  return { status: 401, headers: { 'www-authenticate': challenge }, body: { message: why } }
}

/** RFC 8935 §2.2 to §2.4. */
async function answerPush(
  accept: AcceptSet,
  { request, body, secret }: { request: IncomingMessage; body: string; secret: string },
): Promise<LocalAnswer> {
  const given = Buffer.from(request.headers.authorization ?? '')
  const wanted = Buffer.from(secret)
  if (given.length !== wanted.length || !timingSafeEqual(given, wanted)) {
    return { status: 401, headers: { 'www-authenticate': 'Bearer' } }
  }
  const refusal = await accept(body)
  return refusal ? { status: 400, headers: { 'content-language': 'en' }, body: refusal } : { status: 202 }
}

/** RFC 8936 §2.4, long polls: what an answer brought is acknowledged by the next request. */
async function pollForEver(session: ssf.SsfSession, endpointUrl: string, accept: AcceptSet): Promise<never> {
  let ack: string[] = []
  let setErrs: Record<string, SetRefusal> = {}
  for (;;) {
    const body = {
      maxEvents: 50,
      ...(ack.length > 0 && { ack }),
      ...(Object.keys(setErrs).length > 0 && { setErrs }),
    }
    const answer = await ssf.poll(session, endpointUrl, body).catch(() => undefined)
    if (!answer) {
      // The acknowledgements stay for the next try.
      await sleep(POLL_RETRY_MS)
      continue
    }
    ack = []
    setErrs = {}
    for (const [jti, token] of Object.entries(answer.sets)) {
      const refusal = await accept(token)
      if (refusal) setErrs[jti] = refusal
      else ack.push(jti)
    }
  }
}

run(await receiveSettings<EnforcementPointSettings>()).catch((error: unknown) => {
  announceFailure(error)
  process.disconnect?.()
})
