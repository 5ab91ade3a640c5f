import { hashSecret } from '../auth/secrets.js'
import { Conflict, InvalidRequest, NotFound } from '../kernel/errors.js'
import { newId } from '../kernel/ids.js'
import type { Outgoing } from '../outgoing/outgoing.js'
import { createJwkSet } from '../secevent/jwk-set.js'
import type { SetTolerances } from '../secevent/verify-set.js'
import type { Database } from '../storage/database.js'
import { discoverJwksUri, metadataUrlOf } from './discovery.js'
import type { JwkSetDocument, Transmitter, TransmitterSettings } from './transmitter.js'
import { createTransmitterRepository } from './transmitter-repository.js'

/** What this room needs of the audit log: one row, in the transaction of the change it tells of. */
export interface AuditTrail {
  record(
    trx: Database,
    entry: { actor: string; action: string; target?: string; detail?: object },
  ): Promise<void>
}

/** Where the keys come from: exactly one of the three. */
export interface KeyOrigin {
  jwksUri?: string
  jwks?: JwkSetDocument
  /** True: the well-known place of the issuer. A URL: that metadata document. */
  discover?: true | string
}

export interface TransmitterChange extends KeyOrigin {
  name?: string
  audience?: readonly string[]
  algorithms?: readonly string[]
  /** The whole header value that the sender will send; null takes the check away. */
  authorizationHeader?: string | null
  tolerances?: SetTolerances
  budgetPerS?: number
  enabled?: boolean
  receiverId?: string | null
}

export type NewTransmitter = TransmitterChange & { name: string; issuer: string; audience: readonly string[] }

export interface TransmitterService {
  /** @throws AddressRefused, InvalidRequest (keys, discovery), InvalidJwkSet, Conflict (name) */
  create(input: NewTransmitter, actor: string): Promise<Transmitter>
  /** @throws NotFound */
  get(id: string): Promise<Transmitter>
  list(page: { limit: number; afterName?: string }): Promise<Transmitter[]>
  /** @throws as create, and NotFound */
  update(id: string, change: TransmitterChange, actor: string): Promise<Transmitter>
  /** SETs of it are refused from now on; events already taken go on. @throws NotFound */
  remove(id: string, actor: string): Promise<void>
}

export interface TransmitterServiceOptions {
  db: Database
  outgoing: Pick<Outgoing, 'checkUrl' | 'request'>
  audit: AuditTrail
  /** Runs after each committed change: refresh this process's snapshot, hint to the others. */
  changed(): Promise<void>
}

const DEFAULTS = { algorithms: ['RS256'], tolerances: {}, budgetPerS: 200, enabled: true }
const PRIVATE_MEMBERS = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'k']

export function createTransmitterService(options: TransmitterServiceOptions): TransmitterService {
  const { db, outgoing, audit } = options
  const transmitters = createTransmitterRepository()

  async function resolveKeys(origin: KeyOrigin, issuer: string): Promise<KeySettings> {
    if (origin.jwks) return { jwks: checkJwks(origin.jwks) }
    if (origin.jwksUri !== undefined) {
      await outgoing.checkUrl(origin.jwksUri)
      return { jwksUri: origin.jwksUri }
    }
    const discover = origin.discover === true ? metadataUrlOf(issuer) : origin.discover
    if (discover === undefined) throw new InvalidRequest('issuer must be a URL when discover is true.')
    return { discover, jwksUri: await discoverJwksUri(outgoing, discover, issuer) }
  }

  return {
    async create(input, actor) {
      checkOneOrigin(input, true)
      const keys = await resolveKeys(input, input.issuer)
      const base = { name: input.name, issuer: input.issuer, audience: input.audience, ...DEFAULTS, ...keys }
      const settings = applyChange(base, input)
      const created = await db.transaction(async (trx) => {
        const transmitter = await transmitters.insert(trx, newId(), settings)
        if (!transmitter) throw nameTaken(input.name)
        await audit.record(trx, entry(actor, 'transmitter.created', transmitter))
        return transmitter
      })
      await options.changed()
      return created
    },

    async get(id) {
      const transmitter = await transmitters.find(db, id)
      if (!transmitter) throw notFound()
      return transmitter
    },

    list: (page) => transmitters.list(db, page),

    async update(id, change, actor) {
      const changesKeys = checkOneOrigin(change, false)
      const before = await transmitters.find(db, id)
      if (!before) throw notFound()
      // Fetched before the transaction: no row stays locked while a stranger's server takes its time.
      const keys = changesKeys ? await resolveKeys(change, before.issuer) : undefined
      const updated = await db.transaction(async (trx) => {
        const current = await transmitters.find(trx, id, { lock: true })
        if (!current) throw notFound()
        const settings = applyChange(keys ? { ...withoutKeys(current), ...keys } : current, change)
        const saved = await transmitters.update(trx, id, settings).catch((error: unknown) => {
          throw isUniqueViolation(error) ? nameTaken(settings.name) : error
        })
        if (!saved) throw notFound()
        await audit.record(trx, entry(actor, 'transmitter.updated', saved, { changed: Object.keys(change) }))
        return saved
      })
      await options.changed()
      return updated
    },

    async remove(id, actor) {
      await db.transaction(async (trx) => {
        const transmitter = await transmitters.find(trx, id, { lock: true })
        if (!transmitter || !(await transmitters.remove(trx, id))) throw notFound()
        await audit.record(trx, entry(actor, 'transmitter.deleted', transmitter))
      })
      await options.changed()
    },
  }
}

type KeySettings = Pick<TransmitterSettings, 'jwksUri' | 'jwks' | 'discover'>

/** @returns whether the request says where keys come from */
function checkOneOrigin(origin: KeyOrigin, required: boolean): boolean {
  const given = [origin.jwksUri, origin.jwks, origin.discover].filter((value) => value !== undefined).length
  if (given > 1 || (required && given === 0)) {
    throw new InvalidRequest('Give exactly one of jwks_uri, jwks and discover.')
  }
  return given === 1
}

function checkJwks(jwks: JwkSetDocument): JwkSetDocument {
  const set = createJwkSet(jwks, Date.now)
  if (jwks.keys.some((key) => PRIVATE_MEMBERS.some((member) => key[member] !== undefined))) {
    throw new InvalidRequest(
      'jwks holds a private or symmetric key; send public keys only, and replace that key.',
    )
  }
  if (set.size === 0) throw new InvalidRequest('jwks holds no usable public key.')
  return jwks
}

function withoutKeys(settings: TransmitterSettings): TransmitterSettings {
  const { jwksUri: _uri, jwks: _jwks, discover: _discover, ...rest } = settings
  return rest
}

function applyChange(base: TransmitterSettings, change: TransmitterChange): TransmitterSettings {
  const { authorizationHash, receiverId, ...rest } = base
  const hash =
    change.authorizationHeader === undefined
      ? authorizationHash
      : change.authorizationHeader === null
        ? undefined
        : hashSecret(change.authorizationHeader)
  const receiver = change.receiverId === undefined ? receiverId : (change.receiverId ?? undefined)
  return {
    ...rest,
    ...(change.name !== undefined && { name: change.name }),
    ...(change.audience !== undefined && { audience: change.audience }),
    ...(change.algorithms !== undefined && { algorithms: change.algorithms }),
    ...(change.tolerances !== undefined && { tolerances: change.tolerances }),
    ...(change.budgetPerS !== undefined && { budgetPerS: change.budgetPerS }),
    ...(change.enabled !== undefined && { enabled: change.enabled }),
    ...(hash && { authorizationHash: hash }),
    ...(receiver !== undefined && { receiverId: receiver }),
  }
}

function entry(actor: string, action: string, transmitter: Transmitter, more: object = {}) {
  const { name, issuer, version } = transmitter
  return { actor, action, target: transmitter.id, detail: { name, issuer, version, ...more } }
}

function isUniqueViolation(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === '23505'
}

const nameTaken = (name: string) =>
  new Conflict(`There is a transmitter named ${name} already; choose another name.`)
const notFound = () => new NotFound('There is no transmitter with this id.')
