import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import { CAEP } from '../../src/secevent/event-types.js'
import { parseSet } from '../../src/secevent/parse-set.js'
import {
  type KeySource,
  type SetExpectations,
  type SetTolerances,
  type VerifiedSet,
  verifySet,
} from '../../src/secevent/verify-set.js'

export const ISSUER = 'https://idp.example.com/'
export const AUDIENCE = 'https://hub.example.com'
export const NOW_MS = Date.parse('2026-11-22T12:00:00Z')
export const NOW_S = NOW_MS / 1000
export const KID = 'idp-1'

export const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 })
export const otherRsa = generateKeyPairSync('rsa', { modulusLength: 2048 })
export const smallRsa = generateKeyPairSync('rsa', { modulusLength: 1024 })
export const p256 = generateKeyPairSync('ec', { namedCurve: 'P-256' })
export const p384 = generateKeyPairSync('ec', { namedCurve: 'P-384' })

type Json = Record<string, unknown>

export function header(changes: Json = {}): Json {
  return { alg: 'RS256', typ: 'secevent+jwt', kid: KID, ...changes }
}

export function claims(changes: Json = {}): Json {
  return {
    iss: ISSUER,
    jti: 'set-1',
    iat: NOW_S,
    aud: AUDIENCE,
    txn: 'cause-1',
    sub_id: { format: 'email', email: 'jane@example.com' },
    events: { [CAEP.sessionRevoked]: { event_timestamp: NOW_S - 1, reason_admin: { en: 'Policy' } } },
    ...changes,
  }
}

export const b64 = (value: string | Buffer): string => Buffer.from(value).toString('base64url')

/** Signs exactly these texts, however broken. */
export function signRaw(
  headerText: string | Buffer,
  claimsText: string | Buffer,
  key: KeyObject = rsa.privateKey,
): string {
  const content = `${b64(headerText)}.${b64(claimsText)}`
  const input = key.asymmetricKeyType === 'ec' ? ({ key, dsaEncoding: 'ieee-p1363' } as const) : key
  return `${content}.${b64(sign('sha256', Buffer.from(content), input))}`
}

export function token(changes: { header?: Json; claims?: Json; key?: KeyObject } = {}): string {
  return signRaw(JSON.stringify(header(changes.header)), JSON.stringify(claims(changes.claims)), changes.key)
}

/** Holds `key` under KID and nothing else. */
export function keySource(key: KeyObject = rsa.publicKey): KeySource {
  return { find: async ({ kid }) => (kid === KID || kid === undefined ? key : undefined) }
}

export function expectations(changes: Partial<SetExpectations> = {}): SetExpectations {
  return {
    issuer: ISSUER,
    audience: [AUDIENCE],
    algorithms: ['RS256', 'ES256'],
    keys: keySource(),
    nowMs: NOW_MS,
    ...changes,
  }
}

/** The way a SET takes at ingest: parse, then verify. */
export async function receive(
  text: string | Buffer,
  changes: Partial<SetExpectations> & { tolerances?: SetTolerances } = {},
): Promise<VerifiedSet> {
  return verifySet(parseSet(Buffer.from(text)), expectations(changes))
}
