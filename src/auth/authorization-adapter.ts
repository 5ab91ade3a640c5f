import type { Adapter, AdapterPayload } from 'oidc-provider'
import type { Clock } from '../kernel/clock.js'
import { describeError } from '../kernel/errors.js'
import type { Logger } from '../kernel/logger.js'
import type { Database } from '../storage/database.js'
import { type ArtifactPayload, createArtifactRepository } from './oauth-artifacts.js'
import type { Receiver } from './receiver.js'
import { createReceiverRepository } from './receiver-repository.js'

export interface AdapterOptions {
  db: Database
  clock: Pick<Clock, 'monotonicMs'>
  logger: Logger
  /** Hex of the hash of the secret that the current request was authenticated by; undefined with a key. */
  currentSecretHash(): string | undefined
}

const PURGE_EVERY_MS = 60_000
const PURGE_BATCH = 1_000
/** Of one run; when that was not all, the next token asked for begins another. */
const PURGE_BATCHES = 100
/** Nothing is kept longer than a token may live. */
const LONGEST_S = 3_600

/** oidc-provider's storage on Postgres. Clients are our receivers; only what client credentials need is implemented. */
export function createAdapterFactory(options: AdapterOptions): (model: string) => Adapter {
  const { db, clock } = options
  const artifacts = createArtifactRepository()
  const receivers = createReceiverRepository()
  let purgedAt = clock.monotonicMs()
  let purging = false

  /** In the background: whoever asks for a token waits for no others to be forgotten. */
  function purge(): void {
    if (purging || clock.monotonicMs() - purgedAt < PURGE_EVERY_MS) return
    purging = true
    deleteExpired()
      .catch((error: unknown) => options.logger.warn('oauth.purge_failed', { error: describeError(error) }))
      .finally(() => {
        purging = false
      })
  }

  async function deleteExpired(): Promise<void> {
    for (let batch = 0; batch < PURGE_BATCHES; batch += 1) {
      if ((await artifacts.deleteExpired(db, PURGE_BATCH)) < PURGE_BATCH) {
        purgedAt = clock.monotonicMs()
        return
      }
    }
  }

  async function store(
    model: string,
    id: string,
    payload: ArtifactPayload,
    expiresInS: number,
  ): Promise<void> {
    const clientId = typeof payload.clientId === 'string' ? payload.clientId : null
    const artifact = { clientId, payload, expiresInS }
    const secretHash = options.currentSecretHash()
    const stored =
      model === 'ClientCredentials'
        ? await artifacts.insertToken(db, id, {
            ...artifact,
            secretHash: secretHash === undefined ? null : Buffer.from(secretHash, 'hex'),
          })
        : await artifacts.insert(db, model, id, artifact)
    if (!stored) throw await refusal(model)
    purge()
  }

  return (model) => ({
    async find(id) {
      if (model !== 'Client') return (await artifacts.find(db, model, id)) as AdapterPayload | undefined
      // Ids of ours are found by text; anything unstorable would be an error of the database.
      const receiver = id.includes('\0') ? undefined : await receivers.find(db, { client_id: id })
      if (!receiver?.enabled) return undefined
      const secretHash = await receivers.secretHash(db, id)
      // A client of another server has no secret here; nor, before its first rotation, has one registered beside those.
      if (!secretHash && receiver.authMethod !== 'private_key_jwt') return undefined
      return toClient(receiver, secretHash)
    },
    upsert: (id, payload, expiresInS) =>
      store(model, id, payload as ArtifactPayload, expiresInS ?? LONGEST_S),
    destroy: (id) => artifacts.delete(db, model, id),
    async findByUid() {},
    async findByUserCode() {},
    async consume() {},
    async revokeByGrantId() {},
  })
}

/** The row was refused: a replayed assertion, or a client that was disabled or rotated meanwhile. */
async function refusal(model: string): Promise<Error> {
  const { errors } = await import('oidc-provider')
  return new errors.InvalidClientAuth(
    model === 'ReplayDetection'
      ? 'client assertion tokens must only be used once'
      : 'client changed meanwhile',
  )
}

/** RFC 7591 metadata. The library is given the hash as the secret and compares hashes. */
function toClient(receiver: Receiver, secretHash: Buffer | null | undefined): AdapterPayload {
  const usesKeys = receiver.authMethod === 'private_key_jwt'
  return {
    client_id: receiver.clientId,
    grant_types: ['client_credentials'],
    response_types: [],
    redirect_uris: [],
    token_endpoint_auth_method: receiver.authMethod,
    ...(usesKeys ? { jwks: receiver.jwks } : { client_secret: secretHash?.toString('hex') }),
  } as AdapterPayload
}
