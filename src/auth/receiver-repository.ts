import { present } from '../kernel/present.js'
import { type Database, sqlRows } from '../storage/database.js'
import type { AuthenticatedReceiver } from './callers.js'
import { readCompatibility, toCompatibilityBody } from './compatibility.js'
import type { Profile } from './profile.js'
import type { ClientAuthMethod, Receiver, ReceiverSettings, ReceiverToken } from './receiver.js'

interface ReceiverRow {
  id: string
  name: string
  client_id: string
  client_secret_hash: Buffer | null
  token_endpoint_auth_method: ClientAuthMethod
  jwks: { keys: object[] } | string | null
  audience: string
  default_subjects: 'ALL' | 'NONE'
  reports: string[]
  profile: Profile | null
  compatibility: Record<string, unknown>
  signing_alg: 'RS256' | 'ES256'
  inactivity_timeout_s: number | null
  grant_event_types: string[] | null
  grant_sources: string[] | null
  enabled: boolean
  token_issuer: string | null
  version: number
  created_at: Date
  updated_at: Date
}

interface TokenRow {
  id: string
  receiver_id: string
  token_hash: Buffer
  scopes: string[]
  created_at: Date
  expires_at: Date | null
}

/** Sole writer of `receivers` and `receiver_tokens`. A missing row is `undefined`. */
export function createReceiverRepository() {
  return {
    /** False when the name or the client id is taken. */
    async insert(db: Database, receiver: Receiver, secretHash: Buffer | null): Promise<boolean> {
      const rows = await db<ReceiverRow>('receivers')
        .insert({
          id: receiver.id,
          client_id: receiver.clientId,
          client_secret_hash: secretHash,
          audience: receiver.audience,
          token_issuer: receiver.tokenIssuer,
          ...toRow(receiver),
        })
        .onConflict()
        .ignore()
        .returning('id')
      return rows.length === 1
    },

    /** The enabled receiver that a client of another issuer is. */
    async findExternal(
      db: Database,
      client: { clientId: string; issuer: string },
    ): Promise<Omit<AuthenticatedReceiver, 'scopes'> | undefined> {
      const row = await db<ReceiverRow>('receivers')
        .where({ client_id: client.clientId, token_issuer: client.issuer, enabled: true })
        .first()
      return row && toAuthenticated({ ...row, scopes: [] })
    },

    async find(db: Database, by: { id: string } | { name: string } | { client_id: string }, lock = false) {
      const query = db<ReceiverRow>('receivers').where(by).first()
      const row = await (lock ? query.forUpdate() : query)
      return row && toReceiver(row)
    },

    /** Of an enabled client; null when it authenticates with a key. */
    async secretHash(db: Database, clientId: string): Promise<Buffer | null | undefined> {
      const row = await db<ReceiverRow>('receivers')
        .where({ client_id: clientId })
        .first('client_secret_hash')
      return row?.client_secret_hash
    },

    async list(db: Database, page: { limit: number; afterName?: string }): Promise<Receiver[]> {
      const query = db<ReceiverRow>('receivers').orderBy('name').limit(page.limit)
      if (page.afterName !== undefined) query.where('name', '>', page.afterName)
      return (await query).map(toReceiver)
    },

    /** Raises the version, by which caches and fan-out notice the change. */
    async update(
      db: Database,
      id: string,
      change: Partial<ReceiverSettings> & { enabled?: boolean; secretHash?: Buffer | null },
    ): Promise<void> {
      await db<ReceiverRow>('receivers')
        .where({ id })
        .update({
          ...toRow(change),
          ...present({ enabled: change.enabled, client_secret_hash: change.secretHash }),
          version: db.raw('version + 1'),
          updated_at: db.fn.now(),
        })
    },

    async delete(db: Database, id: string): Promise<void> {
      await db<ReceiverRow>('receivers').where({ id }).delete()
    },

    async insertToken(
      db: Database,
      receiverId: string,
      token: ReceiverToken,
      tokenHash: Buffer,
    ): Promise<void> {
      await db<TokenRow>('receiver_tokens').insert({
        id: token.id,
        receiver_id: receiverId,
        token_hash: tokenHash,
        scopes: token.scopes,
        created_at: token.createdAt,
        expires_at: token.expiresAt,
      })
    },

    async listTokens(db: Database, receiverId: string): Promise<ReceiverToken[]> {
      const rows = await db<TokenRow>('receiver_tokens')
        .where({ receiver_id: receiverId })
        .orderBy(['created_at', 'id'])
      return rows.map((row) => ({
        id: row.id,
        scopes: row.scopes,
        createdAt: row.created_at,
        expiresAt: row.expires_at,
      }))
    },

    /** False when this receiver has no such token. */
    async deleteToken(db: Database, receiverId: string, tokenId: string): Promise<boolean> {
      return (
        (await db<TokenRow>('receiver_tokens').where({ id: tokenId, receiver_id: receiverId }).delete()) > 0
      )
    },

    async deleteTokens(db: Database, receiverId: string): Promise<void> {
      await db<TokenRow>('receiver_tokens').where({ receiver_id: receiverId }).delete()
    },

    /**
     * The enabled receiver behind a token's hash, be it issued by an operator or by the authorization server.
     * One indexed look-up at every call, so a revocation holds from the next request on.
     */
    async authenticate(db: Database, tokenHash: Buffer): Promise<AuthenticatedReceiver | undefined> {
      const [row] = await sqlRows<ReceiverRow & { scopes: string[] }>(db, AUTHENTICATE, [
        tokenHash,
        tokenHash,
      ])
      return row && toAuthenticated(row)
    },
  }
}

/** A token that an operator issued lives as long as it likes, so receivers of the profile have none (its §2.7.1). */
const AUTHENTICATE = `
  select r.*, t.scopes from receiver_tokens t join receivers r on r.id = t.receiver_id
  where t.token_hash = ? and (t.expires_at is null or t.expires_at > now()) and r.enabled
    and r.profile is distinct from 'caep-interop'
  union all
  select r.*, coalesce(string_to_array(a.payload->>'scope', ' '), '{}')
  from oauth_artifacts a join receivers r on r.client_id = a.client_id
  where a.model = 'ClientCredentials' and a.id_hash = ? and a.expires_at > now() and r.enabled`

function toRow(settings: Partial<ReceiverSettings>): Partial<ReceiverRow> {
  const { name, authMethod, jwks, defaultSubjects, reports, profile, compatibility } = settings
  const { signingAlg, inactivityTimeoutS, grantEventTypes, grantSources } = settings
  return present({
    name,
    token_endpoint_auth_method: authMethod,
    jwks: jwks && JSON.stringify(jwks),
    default_subjects: defaultSubjects,
    reports,
    profile,
    compatibility: compatibility && toCompatibilityBody(compatibility),
    signing_alg: signingAlg,
    inactivity_timeout_s: inactivityTimeoutS,
    grant_event_types: grantEventTypes,
    grant_sources: grantSources,
  })
}

function toReceiver(row: ReceiverRow): Receiver {
  return {
    id: row.id,
    name: row.name,
    clientId: row.client_id,
    audience: row.audience,
    authMethod: row.token_endpoint_auth_method,
    jwks: row.jwks as { keys: object[] } | null,
    defaultSubjects: row.default_subjects,
    reports: row.reports,
    profile: row.profile,
    compatibility: readCompatibility(row.compatibility),
    signingAlg: row.signing_alg,
    inactivityTimeoutS: row.inactivity_timeout_s,
    grantEventTypes: row.grant_event_types,
    grantSources: row.grant_sources,
    enabled: row.enabled,
    tokenIssuer: row.token_issuer,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
  }
}

function toAuthenticated(row: ReceiverRow & { scopes: string[] }): AuthenticatedReceiver {
  return {
    receiverId: row.id,
    clientId: row.client_id,
    audience: row.audience,
    scopes: row.scopes,
    name: row.name,
    defaultSubjects: row.default_subjects,
    reports: row.reports,
    grantEventTypes: row.grant_event_types,
    compatibility: readCompatibility(row.compatibility),
  }
}
