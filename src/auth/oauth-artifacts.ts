import { type Database, sqlRows } from '../storage/database.js'
import { hashSecret } from './secrets.js'

/** What the authorization server's library keeps: a JSON object, of which we rely on few members. */
export type ArtifactPayload = Record<string, unknown>

/** Sole writer of `oauth_artifacts`. Ids are stored hashed and taken out of payloads: a copy of the table holds no token. */
export function createArtifactRepository() {
  return {
    async insert(db: Database, model: string, id: string, artifact: Artifact): Promise<boolean> {
      const rows = await sqlRows(
        db,
        `insert into oauth_artifacts (model, id_hash, client_id, payload, expires_at)
         values (?, ?, ?, ?, now() + make_interval(secs => ?)) on conflict (model, id_hash) do nothing returning model`,
        [model, hashSecret(id), artifact.clientId, withoutId(artifact.payload), artifact.expiresInS],
      )
      return rows.length === 1
    },

    /**
     * As `insert`, but only while the client is enabled and still has the secret it was authenticated by: a token
     * must not survive the rotation that ran while it was being issued.
     */
    async insertToken(
      db: Database,
      id: string,
      token: Artifact & { secretHash: Buffer | null },
    ): Promise<boolean> {
      const rows = await sqlRows(
        db,
        `insert into oauth_artifacts (model, id_hash, client_id, payload, expires_at)
         select 'ClientCredentials', ?, client_id, ?, now() + make_interval(secs => ?)
         from (select client_id from receivers
               where client_id = ? and enabled and client_secret_hash is not distinct from ?::bytea for share) receiver
         returning model`,
        [hashSecret(id), withoutId(token.payload), token.expiresInS, token.clientId, token.secretHash],
      )
      return rows.length === 1
    },

    /** Undefined when absent or expired by the database's clock. */
    async find(db: Database, model: string, id: string): Promise<ArtifactPayload | undefined> {
      const [row] = await sqlRows<{ payload: ArtifactPayload }>(
        db,
        'select payload from oauth_artifacts where model = ? and id_hash = ? and expires_at > now()',
        [model, hashSecret(id)],
      )
      return row && { ...row.payload, jti: id }
    },

    async delete(db: Database, model: string, id: string): Promise<void> {
      await sqlRows(db, 'delete from oauth_artifacts where model = ? and id_hash = ?', [
        model,
        hashSecret(id),
      ])
    },

    async deleteOfClient(db: Database, clientId: string): Promise<void> {
      await sqlRows(db, "delete from oauth_artifacts where model = 'ClientCredentials' and client_id = ?", [
        clientId,
      ])
    },

    /** At most so many, so that a long pause does not end in one long delete. @returns how many */
    async deleteExpired(db: Database, most: number): Promise<number> {
      const rows = await sqlRows(
        db,
        `delete from oauth_artifacts where (model, id_hash) in
           (select model, id_hash from oauth_artifacts where expires_at < now() limit ? for update skip locked)
         returning 1`,
        [most],
      )
      return rows.length
    },
  }
}

export interface Artifact {
  clientId: string | null
  payload: ArtifactPayload
  expiresInS: number
}

function withoutId(payload: ArtifactPayload): string {
  const { jti: _usableToken, ...rest } = payload
  return JSON.stringify(rest)
}
