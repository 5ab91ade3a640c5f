import { hashSecret } from '../auth/secrets.js'
import { refuseTakenName } from '../auth/taken-name.js'
import { Conflict, InvalidRequest, NotFound } from '../kernel/errors.js'
import { newId } from '../kernel/ids.js'
import { present } from '../kernel/present.js'
import type { Outgoing } from '../outgoing/outgoing.js'
import type { EventTypes } from '../secevent/event-types.js'
import { canVerify } from '../secevent/jwk-set.js'
import type { SetTolerances } from '../secevent/verify-set.js'
import type { Database } from '../storage/database.js'
import { discoverIssuer, type IssuerMetadata } from './discovery.js'
import type { StreamPlan, StreamView, UpstreamStreams } from './stream-plan.js'
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
  /** True: the well-known place of the issuer. A URL: that metadata document, or the issuer itself. */
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
  /** Replaces the list. */
  urgentTypes?: readonly string[]
  enabled?: boolean
  receiverId?: string | null
  /** The stream that the hub is to hold there; needs `discover`. Null: none, it is told by hand where to push. */
  stream?: StreamPlan | null
}

/** Issuer and audience may be left out where discovery and the stream say them. */
export type NewTransmitter = TransmitterChange & { name: string; issuer?: string }

export interface TransmitterService {
  /** @throws AddressRefused, InvalidRequest (keys, discovery, unknown type), InvalidJwkSet, Conflict (name) */
  create(input: NewTransmitter, actor: string): Promise<Transmitter>
  /** @throws NotFound */
  get(id: string): Promise<Transmitter>
  list(page: { limit: number; afterName?: string }): Promise<Transmitter[]>
  /** @throws as create, and NotFound */
  update(id: string, change: TransmitterChange, actor: string): Promise<Transmitter>
  /** SETs of it are refused from now on; events already taken go on. @throws NotFound */
  remove(id: string, actor: string): Promise<void>
  /** Asks for a verification round trip of the stream that the hub holds there. @throws NotFound, Conflict (no stream) */
  verify(id: string, actor: string): Promise<void>
  /** The streams that the hub holds at these transmitters; the others are not in the answer. */
  streamsOf(ids: readonly string[]): Promise<ReadonlyMap<string, StreamView>>
}

export interface TransmitterServiceOptions {
  db: Database
  outgoing: Pick<Outgoing, 'checkUrl' | 'request'>
  audit: AuditTrail
  streams: UpstreamStreams
  eventTypes: EventTypes
  /** Runs after each committed change: refresh this process's snapshot, hint to the others. */
  changed(): Promise<void>
}

const DEFAULTS = { algorithms: ['RS256'], tolerances: {}, budgetPerS: 200, urgentTypes: [], enabled: true }
const PRIVATE_MEMBERS = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'k']

export function createTransmitterService(options: TransmitterServiceOptions): TransmitterService {
  const { db, outgoing, audit } = options
  const transmitters = createTransmitterRepository()

  async function resolveKeys(origin: KeyOrigin, issuer: string | undefined): Promise<ResolvedKeys> {
    if (origin.jwks) return { keys: { jwks: await checkJwks(origin.jwks) } }
    if (origin.jwksUri !== undefined) {
      await outgoing.checkUrl(origin.jwksUri)
      return { keys: { jwksUri: origin.jwksUri } }
    }
    const found = await discoverIssuer(outgoing, origin.discover ?? true, issuer)
    return { keys: { discover: found.metadataUrl, jwksUri: found.jwksUri }, found }
  }

  /** @returns the change with the Authorization header that the stream brings along */
  async function putStream<T extends TransmitterChange>(
    trx: Database,
    transmitter: { id: string; issuer: string; metadataUrl: string | undefined },
    change: T,
  ): Promise<T> {
    if (!change.stream) return change
    const { id: transmitterId, issuer, metadataUrl } = transmitter
    if (metadataUrl === undefined) throw needsDiscover()
    const authorizationHeader = await options.streams.put(trx, {
      transmitterId,
      issuer,
      metadataUrl,
      plan: change.stream,
      ...present({
        audience: change.audience,
        authorizationHeader: change.authorizationHeader ?? undefined,
      }),
    })
    return authorizationHeader === undefined ? change : { ...change, authorizationHeader }
  }

  /** The framework types (SSF 1.0 §8.1.4, §8.1.5) are not among those that are supported, and always urgent. */
  function checkUrgentTypes({ urgentTypes = [] }: TransmitterChange): void {
    const unknown = urgentTypes.find((type) => !options.eventTypes.supported().includes(type))
    if (unknown !== undefined) {
      throw new InvalidRequest(
        `urgent_types: ${unknown} is not an event type that GET /v1/event-types lists, or is one about the stream.`,
      )
    }
  }

  async function changed(concernsStream: boolean): Promise<void> {
    await options.changed()
    if (concernsStream) options.streams.wake()
  }

  return {
    async create(input, actor) {
      checkOneOrigin(input, true)
      checkUrgentTypes(input)
      const { keys, found } = await resolveKeys(input, input.issuer)
      if (input.stream) {
        if (!found) throw needsDiscover()
        await options.streams.check(input.stream, found)
      } else if (!input.audience) throw new InvalidRequest('audience is required.')
      const issuer = found?.issuer ?? input.issuer
      if (issuer === undefined) throw new InvalidRequest('issuer is required.')
      const base = { name: input.name, issuer, audience: [], ...DEFAULTS, ...keys }
      const id = newId()
      const created = await db.transaction(async (trx) => {
        const change = await putStream(trx, { id, issuer, metadataUrl: found?.metadataUrl }, input)
        const transmitter = await transmitters.insert(trx, id, applyChange(base, change))
        if (!transmitter) throw new Conflict(nameTaken(input.name))
        await audit.record(trx, entry(actor, 'transmitter.created', transmitter, changeDetail(input)))
        return transmitter
      })
      await changed(Boolean(input.stream))
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
      checkUrgentTypes(change)
      const before = await transmitters.find(db, id)
      if (!before) throw notFound()
      // Fetched before the transaction: no row stays locked while a stranger's server takes its time.
      const discover = change.stream && !changesKeys ? before.discover : undefined
      const resolved =
        changesKeys || discover !== undefined
          ? await resolveKeys(discover === undefined ? change : { discover }, before.issuer)
          : undefined
      if (change.stream) {
        if (!resolved?.found) throw needsDiscover()
        await options.streams.check(change.stream, resolved.found)
      }
      const updated = await db.transaction(async (trx) => {
        const current = await transmitters.find(trx, id, { lock: true })
        if (!current) throw notFound()
        const { issuer } = current
        if (change.stream === null) await options.streams.leave(trx, id)
        const full = await putStream(trx, { id, issuer, metadataUrl: resolved?.found?.metadataUrl }, change)
        const settings = applyChange(resolved ? { ...withoutKeys(current), ...resolved.keys } : current, full)
        const saved = await refuseTakenName(nameTaken(settings.name), () =>
          transmitters.update(trx, id, settings),
        )
        if (!saved) throw notFound()
        const detail = { changed: Object.keys(change), ...changeDetail(change) }
        await audit.record(trx, entry(actor, 'transmitter.updated', saved, detail))
        return saved
      })
      await changed(change.stream !== undefined || change.enabled !== undefined)
      return updated
    },

    async remove(id, actor) {
      await db.transaction(async (trx) => {
        const transmitter = await transmitters.find(trx, id, { lock: true })
        if (!transmitter || !(await transmitters.remove(trx, id))) throw notFound()
        await options.streams.leave(trx, id)
        await audit.record(trx, entry(actor, 'transmitter.deleted', transmitter))
      })
      await changed(true)
    },

    async verify(id, actor) {
      await db.transaction(async (trx) => {
        const transmitter = await transmitters.find(trx, id, { lock: true })
        if (!transmitter) throw notFound()
        if (!(await options.streams.requestVerification(trx, id))) {
          throw new Conflict('The hub holds no stream at this transmitter; there is nothing to verify.')
        }
        await audit.record(trx, entry(actor, 'transmitter.verification_requested', transmitter))
      })
      options.streams.wake()
    },

    streamsOf: (ids) => options.streams.views(ids),
  }
}

type KeySettings = Pick<TransmitterSettings, 'jwksUri' | 'jwks' | 'discover'>

interface ResolvedKeys {
  readonly keys: KeySettings
  /** Where they were discovered. */
  readonly found?: IssuerMetadata
}

/** For the audit row: which stream was asked for, never the credentials, and what is urgent from now on. */
function changeDetail({ stream, urgentTypes }: TransmitterChange): object {
  return present({
    stream: stream ? present({ method: stream.method, events: stream.eventsRequested }) : undefined,
    urgent_types: urgentTypes,
  })
}

/** @returns whether the request says where keys come from */
function checkOneOrigin(origin: KeyOrigin, required: boolean): boolean {
  const given = [origin.jwksUri, origin.jwks, origin.discover].filter((value) => value !== undefined).length
  if (given > 1 || (required && given === 0)) {
    throw new InvalidRequest('Give exactly one of jwks_uri, jwks and discover.')
  }
  return given === 1
}

async function checkJwks(jwks: JwkSetDocument): Promise<JwkSetDocument> {
  if (jwks.keys.some((key) => PRIVATE_MEMBERS.some((member) => key[member] !== undefined))) {
    throw new InvalidRequest(
      'jwks holds a private or symmetric key; send public keys only, and replace that key.',
    )
  }
  if (!(await canVerify(jwks, Date.now))) {
    throw new InvalidRequest(
      'jwks holds no usable public key. RSA needs n (2048 bits or more) and e, EC needs crv, x and y, OKP needs crv Ed25519 and x.',
    )
  }
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
    ...present({
      name: change.name,
      audience: change.audience,
      algorithms: change.algorithms,
      tolerances: change.tolerances,
      budgetPerS: change.budgetPerS,
      urgentTypes: change.urgentTypes,
      enabled: change.enabled,
      authorizationHash: hash,
      receiverId: receiver,
    }),
  }
}

function entry(actor: string, action: string, transmitter: Transmitter, more: object = {}) {
  const { name, issuer, version } = transmitter
  return { actor, action, target: transmitter.id, detail: { name, issuer, version, ...more } }
}

const nameTaken = (name: string) => `There is a transmitter named ${name} already; choose another name.`
const needsDiscover = () =>
  new InvalidRequest('A stream at the transmitter needs its SSF metadata; give discover.')
const notFound = () => new NotFound('There is no transmitter with this id.')
