import type { StreamCredentials, StreamView, UpstreamStreams } from '../ingest/stream-plan.js'
import { InvalidRequest } from '../kernel/errors.js'
import { newSecret } from '../kernel/ids.js'
import type { Outgoing } from '../outgoing/outgoing.js'
import type { EventTypes } from '../secevent/event-types.js'
import type { Database } from '../storage/database.js'
import { parseEndpoints } from './ssf-endpoints.js'
import {
  authorizationContext,
  type KeptCredentials,
  secretContext,
  type UpstreamStream,
} from './upstream-stream.js'
import { upstreamStreamRepository as repository } from './upstream-stream-repository.js'

export interface Sealer {
  seal(plain: string, context: string): Buffer
  open(sealed: Buffer, context: string): Buffer
}

export interface UpstreamServiceOptions {
  db: Database
  keys: Sealer
  outgoing: Pick<Outgoing, 'checkUrl'>
  eventTypes: EventTypes
  /** Rings whoever keeps the streams, in this process and in others. */
  wake(): void
}

/** What a person wishes of the streams at upstream transmitters; the worker sees to it. */
export function createUpstreamService(options: UpstreamServiceOptions): UpstreamStreams {
  const { db, keys, outgoing, eventTypes, wake } = options
  return {
    async check({ method, eventsRequested = [], credentials }, { document }) {
      const unknown = eventsRequested.filter((type) => !eventTypes.supported().includes(type))
      if (unknown.length > 0) {
        throw new InvalidRequest(
          `delivery.events_requested may name types of events that the hub knows, not ${unknown.join(', ')}.`,
        )
      }
      const endpoints = parseEndpoints(document)
      if (!endpoints) throw new InvalidRequest('The metadata document has no "configuration_endpoint".')
      if (!endpoints.methods.includes(method)) {
        throw new InvalidRequest(`The transmitter does not deliver by ${method}; see its metadata.`)
      }
      const { tokenEndpoint = undefined, authorizationServer = undefined } =
        'token' in credentials ? {} : credentials
      const urls = [
        endpoints.configuration,
        endpoints.status,
        endpoints.verification,
        tokenEndpoint,
        authorizationServer,
      ]
      for (const url of urls) if (url !== undefined) await outgoing.checkUrl(url)
    },

    async put(trx, { transmitterId, issuer, metadataUrl, audience, authorizationHeader, plan }) {
      const { kept, secret } = split(plan.credentials)
      const before = await repository.find(trx, transmitterId)
      // Kept when the stream only changes: other processes know its hash, and the transmitter may push at any time.
      const known =
        before?.sealedAuthorization &&
        keys.open(before.sealedAuthorization, authorizationContext(transmitterId)).toString()
      const authorization =
        plan.method === 'push'
          ? (authorizationHeader ?? known ?? `Bearer ${newSecret('fbk_push')}`)
          : undefined
      await repository.put(trx, {
        transmitterId,
        issuer,
        metadataUrl,
        method: plan.method,
        eventsRequested: plan.eventsRequested ?? eventTypes.supported(),
        audienceExpected: audience ?? before?.audienceExpected ?? [],
        credentials: kept,
        sealedSecret: keys.seal(secret, secretContext(transmitterId)),
        ...(authorization !== undefined && {
          sealedAuthorization: keys.seal(authorization, authorizationContext(transmitterId)),
        }),
      })
      return authorization
    },

    leave: (trx, transmitterId) => repository.leave(trx, transmitterId),
    requestVerification: (trx, transmitterId) => repository.wishVerification(trx, transmitterId),

    async views(transmitterIds) {
      const streams = transmitterIds.length > 0 ? await repository.findAll(db, transmitterIds) : []
      return new Map(streams.map((stream) => [stream.transmitterId, toView(stream)]))
    },

    wake,
  }
}

function split(credentials: StreamCredentials): { kept: KeptCredentials; secret: string } {
  if ('token' in credentials) return { kept: { kind: 'token' }, secret: credentials.token }
  const { clientSecret, ...rest } = credentials
  return { kept: { kind: 'client', ...rest }, secret: clientSecret }
}

function toView(stream: UpstreamStream): StreamView {
  const { sealedSecret: _s, sealedAuthorization: _a, lastErrorOf: _of, credentials, ...rest } = stream
  const { kind: _kind, ...shown } = credentials
  return { ...rest, credentials: shown, eventsMissing: eventsMissing(stream) }
}

/** Requested and not delivered (SSF 1.0 §8.1.1: `events_delivered` is what counts). */
export function eventsMissing({
  eventsRequested,
  eventsDelivered,
}: Pick<UpstreamStream, 'eventsRequested' | 'eventsDelivered'>): string[] {
  return eventsDelivered ? eventsRequested.filter((type) => !eventsDelivered.includes(type)) : []
}
