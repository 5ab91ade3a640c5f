import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { type CryptoKey, exportJWK, generateKeyPair, SignJWT } from 'jose'
import { announceFailure, announceReady, receiveSettings } from './child-side.js'
import { type LocalAnswer, serveLocally } from './local-http.js'
import { SESSION_REVOKED } from './set-handler.js'

/** The demo's identity provider: signs sessions in, signs them out, and tells the hub by an RFC 8935 push. */
export interface UpstreamSettings {
  /** aud of the session tokens. */
  sessionAudience: string
}

/** `POST /sessions/{id}/revoke`: where the hub takes SETs from this transmitter, and what they carry. */
export interface RevokeOrder {
  ingest_url: string
  audience: string
  authorization_header: string
}

interface Identity {
  issuer: string
  kid: string
  privateKey: CryptoKey
}

const ALG = 'RS256'
const PUSH_TRIES = 5

async function run({ sessionAudience }: UpstreamSettings): Promise<void> {
  const { publicKey, privateKey } = await generateKeyPair(ALG, { modulusLength: 2048 })
  const kid = randomUUID()
  const jwks = { keys: [{ ...(await exportJWK(publicKey)), kid, alg: ALG, use: 'sig' }] }
  const sessions = new Map<string, string>()
  const identity: Identity = { issuer: '', kid, privateKey }

  const server = await serveLocally(async (request, body): Promise<LocalAnswer> => {
    const [, first, id = '', verb] = (request.url ?? '').split('/')
    if (request.method === 'GET' && first === 'jwks.json') return { status: 200, body: jwks }
    if (request.method !== 'POST' || first !== 'sessions') return { status: 404 }
    if (!id) {
      const { user } = JSON.parse(body) as { user: string }
      const sid = randomUUID()
      sessions.set(sid, user)
      const token = await signSession(identity, { sid, user, audience: sessionAudience })
      return { status: 201, body: { session_id: sid, access_token: token } }
    }
    const user = sessions.get(id)
    if (!user || verb !== 'revoke') return { status: 404 }
    return {
      status: 200,
      body: await revoke(identity, { sid: id, user, order: JSON.parse(body) as RevokeOrder }),
    }
  })
  identity.issuer = server.url
  announceReady({ url: server.url, jwksUri: `${server.url}/jwks.json` })
}

function signSession(
  identity: Identity,
  session: { sid: string; user: string; audience: string },
): Promise<string> {
  return new SignJWT({ sid: session.sid })
    .setProtectedHeader({ alg: ALG, kid: identity.kid, typ: 'at+jwt' })
    .setIssuer(identity.issuer)
    .setSubject(session.user)
    .setAudience(session.audience)
    .setIssuedAt()
    .setExpirationTime('30 min')
    .sign(identity.privateKey)
}

/** CAEP 1.0 §3.1 about one session of one user. */
async function revoke(identity: Identity, session: { sid: string; user: string; order: RevokeOrder }) {
  const txn = randomUUID()
  const now = Date.now() / 1000
  const set = await new SignJWT({
    txn,
    sub_id: {
      format: 'complex',
      user: { format: 'iss_sub', iss: identity.issuer, sub: session.user },
      session: { format: 'opaque', id: session.sid },
    },
    events: {
      [SESSION_REVOKED]: {
        event_timestamp: Math.floor(now),
        initiating_entity: 'admin',
        reason_admin: { en: 'Demo: the session was stolen.' },
      },
    },
  })
    .setProtectedHeader({ alg: ALG, kid: identity.kid, typ: 'secevent+jwt' })
    .setIssuer(identity.issuer)
    .setAudience(session.order.audience)
    .setIssuedAt(Math.floor(now))
    .setJti(randomUUID())
    .sign(identity.privateKey)
  return { txn, push_status: await push(set, session.order) }
}

/** RFC 8935 §2.1. The same SET again when the hub asks for patience. */
async function push(set: string, order: RevokeOrder): Promise<number> {
  for (let tried = 1; ; tried += 1) {
    const response = await fetch(order.ingest_url, {
      method: 'POST',
      headers: {
        authorization: order.authorization_header,
        'content-type': 'application/secevent+jwt',
        accept: 'application/json',
      },
      body: set,
      redirect: 'error',
      signal: AbortSignal.timeout(10_000),
    })
    const text = await response.text()
    if (response.status === 202) return 202
    const again = response.status === 429 || response.status === 503
    if (!again || tried === PUSH_TRIES)
      throw new Error(`the hub answered ${response.status} to the SET: ${text}`)
    await sleep(Number(response.headers.get('retry-after') ?? 1) * 1000)
  }
}

run(await receiveSettings<UpstreamSettings>()).catch((error: unknown) => {
  announceFailure(error)
  process.disconnect?.()
})
