import type { Clock } from '../kernel/clock.js'
import { Conflict, InvalidRequest, NotFound } from '../kernel/errors.js'
import { newId, newSecret } from '../kernel/ids.js'
import { present } from '../kernel/present.js'
import type { Database } from '../storage/database.js'
import type { AuditTrail } from './audit-trail.js'
import type { Scope } from './callers.js'
import { createArtifactRepository } from './oauth-artifacts.js'
import { checkProfile, TokenNotInProfile } from './profile.js'
import type { NewReceiver, Receiver, ReceiverSettings, ReceiverToken } from './receiver.js'
import { createReceiverRepository } from './receiver-repository.js'
import { hashSecret } from './secrets.js'
import { findSourceIds } from './source-read-model.js'
import { refuseTakenName } from './taken-name.js'

/** How other rooms learn of a receiver's changes; `hub.ts` supplies it. */
export interface ReceiverObserver {
  /** In the transaction that changes grants, enablement, declared reports or defaults. */
  changing?(trx: Database, receiver: Receiver): Promise<void>
  /** In the transaction that deletes the receiver, before its row goes and takes its streams along. */
  deleting?(trx: Database, receiver: Receiver): Promise<void>
  /** After the commit of any of these. */
  changed?(receiverId: string): Promise<void>
}

export interface ReceiverServiceOptions {
  db: Database
  audit: AuditTrail
  clock: Pick<Clock, 'now'>
  /** The hub's ISSUER: the audience of a receiver is `<issuer>/receivers/<id>`. */
  issuer: string
  observer?: ReceiverObserver
  /** The authorization server whose clients may be registered. */
  externalIssuer?: string | undefined
}

export type ReceiverService = ReturnType<typeof createReceiverService>

/** The registry of receivers. Every change writes its audit row in the same transaction. */
export function createReceiverService(options: ReceiverServiceOptions) {
  const { db, audit, clock, observer } = options
  const receivers = createReceiverRepository()
  const artifacts = createArtifactRepository()
  const issuer = options.issuer.replace(/\/$/, '')

  async function locked(trx: Database, id: string): Promise<Receiver> {
    const receiver = await receivers.find(trx, { id }, true)
    if (!receiver) throw new NotFound('There is no receiver with this id.')
    return receiver
  }

  async function resolveSources(trx: Database, sources: string[] | null): Promise<string[] | null> {
    if (sources === null || sources.length === 0) return sources
    const ids = await findSourceIds(trx, sources)
    const unknown = sources.filter((source) => !ids.has(source))
    if (unknown.length > 0) {
      throw new InvalidRequest(
        `grants.sources names no transmitter: ${unknown.join(', ')}; register it first.`,
      )
    }
    return [...new Set(ids.values())]
  }

  function externalIssuerFor({ authMethod }: ReceiverSettings): string {
    if (options.externalIssuer === undefined) {
      throw new InvalidRequest(
        'client_id is given only where OAUTH_ISSUER names who issues the tokens; leave it out.',
      )
    }
    if (authMethod === 'private_key_jwt') {
      throw new InvalidRequest(
        'A client of another issuer keeps its keys there; leave out jwks and private_key_jwt.',
      )
    }
    return options.externalIssuer
  }

  /** Both kinds of token: those of the authorization server and those an operator issued. */
  async function deleteTokens(trx: Database, receiver: Receiver): Promise<void> {
    await receivers.deleteTokens(trx, receiver.id)
    await artifacts.deleteOfClient(trx, receiver.clientId)
  }

  return {
    list: (page: { limit: number; afterName?: string }) => receivers.list(db, page),

    async get(id: string): Promise<Receiver> {
      const receiver = await receivers.find(db, { id })
      if (!receiver) throw new NotFound('There is no receiver with this id.')
      return receiver
    },

    /**
     * The secret is in the answer and nowhere else; absent with `private_key_jwt`, and where another server issues the
     * tokens. @throws Conflict on a taken name
     */
    async create(
      { clientId, ...settings }: NewReceiver,
      actor: string,
    ): Promise<{ receiver: Receiver; secret?: string }> {
      checkKeys(settings)
      checkProfile(settings)
      const tokenIssuer = clientId === undefined ? null : externalIssuerFor(settings)
      const id = newId()
      const needsSecret = options.externalIssuer === undefined && settings.authMethod !== 'private_key_jwt'
      const secret = needsSecret ? newSecret('fbk_cs') : undefined
      return await db.transaction(async (trx) => {
        const draft: Receiver = {
          ...settings,
          id,
          clientId: clientId ?? id,
          tokenIssuer,
          audience: `${issuer}/receivers/${id}`,
          grantSources: await resolveSources(trx, settings.grantSources),
          enabled: true,
          createdAt: new Date(),
          updatedAt: new Date(),
        }
        if (!(await receivers.insert(trx, draft, secret === undefined ? null : hashSecret(secret)))) {
          const taken = `name ${settings.name}${clientId === undefined ? '' : ` or the client_id ${clientId}`}`
          throw new Conflict(`A receiver with the ${taken} exists; choose another.`)
        }
        await audit.record(trx, { actor, action: 'receiver.created', target: id, detail: auditDetail(draft) })
        return { receiver: await locked(trx, id), ...present({ secret }) }
      })
    },

    /** Members that are absent stay as they are. @throws NotFound, Conflict, InvalidRequest */
    async update(id: string, change: Partial<ReceiverSettings>, actor: string): Promise<Receiver> {
      const refusal = `A receiver with the name ${change.name} exists; choose another name.`
      const receiver = await refuseTakenName(refusal, () =>
        db.transaction(async (trx) => {
          const before = await locked(trx, id)
          checkAuthMethodKept(before, change)
          checkKeys({ ...before, ...change })
          checkProfile({ ...before, ...change })
          const { grantSources: sources } = change
          const grant = sources === undefined ? {} : { grantSources: await resolveSources(trx, sources) }
          await receivers.update(trx, id, { ...change, ...grant })
          // New keys are to a key what a rotation is to a secret.
          if (change.jwks) await deleteTokens(trx, before)
          const after = await locked(trx, id)
          const detail = { before: auditDetail(before), after: auditDetail(after) }
          await audit.record(trx, { actor, action: 'receiver.changed', target: id, detail })
          await observer?.changing?.(trx, after)
          return after
        }),
      )
      await observer?.changed?.(id)
      return receiver
    },

    /** Disabling also ends all tokens, at once and for good; enabling brings none of them back. */
    async setEnabled(id: string, enabled: boolean, actor: string): Promise<Receiver> {
      const receiver = await db.transaction(async (trx) => {
        const before = await locked(trx, id)
        if (before.enabled === enabled) return before
        await receivers.update(trx, id, { enabled })
        if (!enabled) await deleteTokens(trx, before)
        const action = enabled ? 'receiver.enabled' : 'receiver.disabled'
        await audit.record(trx, { actor, action, target: id, detail: { name: before.name } })
        const after = await locked(trx, id)
        await observer?.changing?.(trx, after)
        return after
      })
      await observer?.changed?.(id)
      return receiver
    },

    /** A new client secret; the old one and all tokens end at once. @throws Conflict for `private_key_jwt` */
    async rotate(id: string, actor: string): Promise<{ receiver: Receiver; secret: string }> {
      const secret = newSecret('fbk_cs')
      return await db.transaction(async (trx) => {
        const receiver = await locked(trx, id)
        if (receiver.tokenIssuer !== null) {
          throw new Conflict('This receiver has no secret here: it is a client of the configured issuer.')
        }
        if (options.externalIssuer !== undefined) {
          throw new Conflict(
            'Nothing takes a secret here: the tokens are issued by the server of OAUTH_ISSUER.',
          )
        }
        if (receiver.authMethod === 'private_key_jwt') {
          throw new Conflict(
            'This receiver has no secret: it authenticates with its own key. Change jwks instead.',
          )
        }
        await receivers.update(trx, id, { secretHash: hashSecret(secret) })
        await deleteTokens(trx, receiver)
        await audit.record(trx, {
          actor,
          action: 'receiver.rotated',
          target: id,
          detail: { name: receiver.name },
        })
        return { receiver: await locked(trx, id), secret }
      })
    },

    async delete(id: string, actor: string): Promise<void> {
      await db.transaction(async (trx) => {
        const receiver = await locked(trx, id)
        await observer?.deleting?.(trx, receiver)
        await deleteTokens(trx, receiver)
        await receivers.delete(trx, id)
        await audit.record(trx, {
          actor,
          action: 'receiver.deleted',
          target: id,
          detail: auditDetail(receiver),
        })
      })
      await observer?.changed?.(id)
    },

    async listTokens(id: string): Promise<ReceiverToken[]> {
      await this.get(id)
      return await receivers.listTokens(db, id)
    },

    /** @throws Conflict when the receiver is disabled, TokenNotInProfile: the token would not work */
    async issueToken(
      id: string,
      input: { scopes: Scope[]; expiresAt: Date | null },
      actor: string,
    ): Promise<ReceiverToken & { token: string }> {
      if (input.expiresAt && input.expiresAt.getTime() <= clock.now()) {
        throw new InvalidRequest('expires_at must be in the future.')
      }
      const token = newSecret('fbk_rt')
      const record: ReceiverToken = { id: newId(), createdAt: new Date(clock.now()), ...input }
      await db.transaction(async (trx) => {
        const receiver = await locked(trx, id)
        if (!receiver.enabled) throw new Conflict('This receiver is disabled; enable it first.')
        if (receiver.profile) throw new TokenNotInProfile(receiver.profile)
        await receivers.insertToken(trx, id, record, hashSecret(token))
        const detail = {
          token_id: record.id,
          scopes: input.scopes,
          expires_at: input.expiresAt?.toISOString() ?? null,
        }
        await audit.record(trx, { actor, action: 'receiver.token_issued', target: id, detail })
      })
      return { ...record, token }
    },

    async revokeToken(id: string, tokenId: string, actor: string): Promise<void> {
      await db.transaction(async (trx) => {
        if (!(await receivers.deleteToken(trx, id, tokenId))) {
          throw new NotFound('There is no token with this id for this receiver.')
        }
        await audit.record(trx, {
          actor,
          action: 'receiver.token_revoked',
          target: id,
          detail: { token_id: tokenId },
        })
      })
    },
  }
}

function checkKeys(settings: Pick<ReceiverSettings, 'authMethod' | 'jwks'>): void {
  const usesKeys = settings.authMethod === 'private_key_jwt'
  if (usesKeys && !settings.jwks) {
    throw new InvalidRequest('token_endpoint_auth_method private_key_jwt needs jwks with the public keys.')
  }
  if (!usesKeys && settings.jwks) {
    throw new InvalidRequest('jwks is only for token_endpoint_auth_method private_key_jwt; leave it out.')
  }
}

/** Between secret and key there is no change without a moment in which both or neither work: register anew. */
function checkAuthMethodKept(before: Receiver, change: Partial<ReceiverSettings>): void {
  if (change.authMethod === undefined) return
  if ((before.authMethod === 'private_key_jwt') === (change.authMethod === 'private_key_jwt')) return
  throw new InvalidRequest(
    'token_endpoint_auth_method cannot change between a secret and a key; register a new receiver.',
  )
}

function auditDetail(receiver: Receiver): object {
  const { id: _id, jwks, createdAt: _created, updatedAt: _updated, ...rest } = receiver
  return { ...rest, keys: jwks?.keys.length ?? 0 }
}
