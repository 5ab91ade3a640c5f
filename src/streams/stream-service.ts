import { InvalidRequest } from '../kernel/errors.js'
import { newId } from '../kernel/ids.js'
import { present } from '../kernel/present.js'
import type { Database, Transaction } from '../storage/database.js'
import { createEventTypeRepository } from './event-type-repository.js'
import type { FrameworkEvents } from './framework-events.js'
import { createReceiverTermsReadModel, type ReceiverTerms } from './receiver-terms-read-model.js'
import { applyByHub, isPausedForFailing } from './status-change.js'
import {
  authorizationContext,
  type DeliveryChoice,
  type Stream,
  type StreamChoice,
  type StreamSettings,
  shardOf,
} from './stream.js'
import type { AuditTrail, OpenWork, StreamKeys, StreamObserver, UrlGuard } from './stream-collaborators.js'
import {
  type ClaimedConfiguration,
  differingMembers,
  eventsDelivered,
  inactivityTimeoutOf,
  type StreamConfiguration,
  toConfiguration,
} from './stream-configuration.js'
import { StreamLimitReached, StreamNotFound } from './stream-errors.js'
import { createStreamRepository, type StreamConfigurationChange } from './stream-repository.js'

export interface StreamServiceOptions {
  db: Database
  settings: StreamSettings
  keys: StreamKeys
  outgoing: UrlGuard
  observer: StreamObserver
  openWork: OpenWork
  events: FrameworkEvents
  audit: AuditTrail
}

/** A PATCH (members that are absent stay) or PUT (members that are absent go). */
export interface StreamEdit {
  readonly choice: Partial<StreamChoice>
  readonly claimed: ClaimedConfiguration
}

/** Stream configurations of one receiver each (SSF 1.0 §8.1.1). Another receiver's stream is StreamNotFound. */
export interface StreamService {
  /** Throws StreamLimitReached, AddressRefused. */
  create(receiverId: string, choice: Partial<StreamChoice>): Promise<StreamConfiguration>
  read(receiverId: string, streamId: string): Promise<StreamConfiguration>
  list(receiverId: string): Promise<StreamConfiguration[]>
  /** Throws InvalidRequest when a transmitter-supplied member differs. */
  update(receiverId: string, streamId: string, edit: StreamEdit): Promise<StreamConfiguration>
  replace(receiverId: string, streamId: string, edit: StreamEdit): Promise<StreamConfiguration>
  /** Purges subjects and open work. False: done, but the owner has not confirmed that it stopped. */
  delete(receiverId: string, streamId: string): Promise<boolean>
  /** A call about this stream was refused: it shows all the same that the receiver is there (SSF 1.0 §8.1.1). */
  noteActivity(receiverId: string, streamId: string): Promise<void>
  /** For whoever changes a receiver's grants, in that transaction: `events_delivered` follows. Answers the streams changed. */
  grantsChanged(trx: Transaction, receiverId: string): Promise<string[]>
  /** After event types were registered or removed: `events_delivered` follows. Answers the streams changed. */
  eventTypesChanged(): Promise<string[]>
}

export function createStreamService(options: StreamServiceOptions): StreamService {
  const { db, settings, keys } = options

  function deliveryColumns(streamId: string, delivery: DeliveryChoice) {
    if (delivery.method === 'poll') {
      return { deliveryMethod: 'poll', endpointUrl: undefined, authorizationSealed: undefined } as const
    }
    const { endpointUrl, authorizationHeader } = delivery
    return {
      deliveryMethod: 'push',
      endpointUrl,
      // A delivery that is set without a header has none from now on: the old one was for the old endpoint (SSF 1.0 §8.1.1.3).
      authorizationSealed:
        authorizationHeader === undefined
          ? undefined
          : keys.seal(authorizationHeader, authorizationContext(streamId)),
    } as const
  }

  /** Before any lock is taken: it may look names up. */
  async function checkDelivery(delivery: DeliveryChoice | undefined): Promise<void> {
    if (delivery?.method === 'push') await options.outgoing.checkUrl(delivery.endpointUrl)
  }

  function record(
    trx: Transaction,
    receiverId: string,
    action: string,
    streamId: string,
    detail: object = {},
  ) {
    return options.audit.record(trx, {
      actor: `receiver:${receiverId}`,
      action,
      target: `stream:${streamId}`,
      detail,
    })
  }

  async function edit(
    receiverId: string,
    streamId: string,
    action: 'stream.updated' | 'stream.replaced',
    claimed: ClaimedConfiguration,
    change: (current: Stream, terms: ReceiverTerms) => Omit<StreamConfigurationChange, 'eventsDelivered'>,
  ): Promise<StreamConfiguration> {
    let isEnabled = false
    const configuration = await db.transaction(async (trx) => {
      const terms = await createReceiverTermsReadModel(trx).hold(receiverId)
      const streams = createStreamRepository(trx)
      const current = await streams.lock(receiverId, streamId)
      if (!terms || !current) throw new StreamNotFound()
      const known = { terms, types: await createEventTypeRepository(trx).hold() }
      const differing = differingMembers(claimed, toConfiguration(current, known, settings))
      if (differing.length > 0) {
        throw new InvalidRequest(
          `Leave out or correct what the hub decides and differs from the stream: ${differing.join(', ')}.`,
        )
      }
      const next = change(current, terms)
      const saved = await streams.saveConfiguration(streamId, {
        ...next,
        eventsDelivered: eventsDelivered(terms, next.eventsRequested, known.types),
      })
      await record(trx, receiverId, action, streamId, auditDetail(saved))
      if (isPausedForFailing(current) && goesElsewhere(current, saved)) {
        await applyByHub(trx, options, saved, { status: 'enabled', reason: MOVED, by: 'hub', actor: 'hub' })
        isEnabled = true
      }
      return toConfiguration(saved, known, settings)
    })
    if (isEnabled) options.events.wake()
    // Only a hint here: the sender checks the version at each claim.
    await options.observer.streamChanged(streamId)
    return configuration
  }

  return {
    async create(receiverId, choice) {
      await checkDelivery(choice.delivery)
      const streamId = newId()
      return db.transaction(async (trx) => {
        const terms = await createReceiverTermsReadModel(trx).holdAlone(receiverId)
        if (!terms) throw new StreamNotFound()
        const types = await createEventTypeRepository(trx).hold()
        const streams = createStreamRepository(trx)
        if ((await streams.count(receiverId)) >= settings.maxStreamsPerReceiver) {
          throw new StreamLimitReached(settings.maxStreamsPerReceiver)
        }
        const stream = await streams.insert({
          streamId,
          receiverId,
          shard: shardOf(streamId),
          ...deliveryColumns(streamId, choice.delivery ?? { method: 'poll' }),
          eventsRequested: choice.eventsRequested,
          eventsDelivered: eventsDelivered(terms, choice.eventsRequested, types),
          description: choice.description,
        })
        await record(trx, receiverId, 'stream.created', streamId, auditDetail(stream))
        return toConfiguration(stream, { terms, types }, settings)
      })
    },

    async read(receiverId, streamId) {
      const streams = createStreamRepository(db)
      const [stream, terms, types] = await Promise.all([
        streams.find(receiverId, streamId),
        createReceiverTermsReadModel(db).find(receiverId),
        createEventTypeRepository(db).types(),
      ])
      if (!stream || !terms) throw new StreamNotFound()
      if (inactivityTimeoutOf(terms, settings)) await streams.touch([streamId])
      return toConfiguration(stream, { terms, types }, settings)
    },

    async list(receiverId) {
      const [streams, terms, types] = await Promise.all([
        createStreamRepository(db).list(receiverId),
        createReceiverTermsReadModel(db).find(receiverId),
        createEventTypeRepository(db).types(),
      ])
      return terms ? streams.map((stream) => toConfiguration(stream, { terms, types }, settings)) : []
    },

    async update(receiverId, streamId, { choice, claimed }) {
      await checkDelivery(choice.delivery)
      return edit(receiverId, streamId, 'stream.updated', claimed, (current) => ({
        ...(choice.delivery ? deliveryColumns(streamId, choice.delivery) : deliveryOf(current)),
        eventsRequested: choice.eventsRequested ?? current.eventsRequested,
        description: choice.description ?? current.description,
      }))
    },

    async replace(receiverId, streamId, { choice, claimed }) {
      await checkDelivery(choice.delivery)
      return edit(receiverId, streamId, 'stream.replaced', claimed, () => ({
        ...deliveryColumns(streamId, choice.delivery ?? { method: 'poll' }),
        eventsRequested: choice.eventsRequested,
        description: choice.description,
      }))
    },

    async delete(receiverId, streamId) {
      await db.transaction(async (trx) => {
        const streams = createStreamRepository(trx)
        if (!(await streams.lock(receiverId, streamId))) throw new StreamNotFound()
        await options.openWork.discard(trx, streamId, 'deleted')
        await streams.delete(streamId)
        await record(trx, receiverId, 'stream.deleted', streamId)
      })
      return options.observer.streamChanged(streamId)
    },

    async noteActivity(receiverId, streamId) {
      const streams = createStreamRepository(db)
      const [stream, terms] = await Promise.all([
        streams.find(receiverId, streamId),
        createReceiverTermsReadModel(db).find(receiverId),
      ])
      if (stream && terms && inactivityTimeoutOf(terms, settings)) await streams.touch([streamId])
    },

    grantsChanged: followTypes,

    async eventTypesChanged() {
      const types = await createEventTypeRepository(db).types()
      const streams = await createStreamRepository(db).listRequests()
      const outdated = streams.filter(
        ({ requested, delivered, ...terms }) =>
          eventsDelivered(terms, requested, types).join() !== delivered.join(),
      )
      const changed: string[] = []
      for (const receiverId of new Set(outdated.map((stream) => stream.receiverId))) {
        changed.push(...(await db.transaction((trx) => followTypes(trx, receiverId))))
      }
      await Promise.all(changed.map((streamId) => options.observer.streamChanged(streamId)))
      return changed
    },
  }
}

/** Brings `events_delivered` of a receiver's streams to what grants and types allow now. */
async function followTypes(trx: Transaction, receiverId: string): Promise<string[]> {
  const terms = await createReceiverTermsReadModel(trx).hold(receiverId)
  if (!terms) return []
  const types = await createEventTypeRepository(trx).hold()
  const streams = createStreamRepository(trx)
  const changed: string[] = []
  for (const { streamId } of await streams.list(receiverId)) {
    const stream = await streams.lock(receiverId, streamId)
    if (!stream) continue
    const delivered = eventsDelivered(terms, stream.eventsRequested, types)
    if (delivered.join() === stream.eventsDelivered.join()) continue
    await streams.saveConfiguration(streamId, { ...stream, eventsDelivered: delivered })
    changed.push(streamId)
  }
  return changed
}

const MOVED = 'The stream has another endpoint.'

/** What the hub knew of the endpoint says nothing any more. */
function goesElsewhere(before: Stream, after: Stream): boolean {
  return before.deliveryMethod !== after.deliveryMethod || before.endpointUrl !== after.endpointUrl
}

function deliveryOf(stream: Stream) {
  const { deliveryMethod, endpointUrl, authorizationSealed } = stream
  return { deliveryMethod, endpointUrl, authorizationSealed }
}

/** Who will be told what, and where: no secret, and no URL's query, where one may stand. */
function auditDetail(stream: Stream): object {
  return present({
    delivery: stream.deliveryMethod,
    endpoint_url: stream.endpointUrl?.replace(/[?#].*/s, ''),
    events_delivered: stream.eventsDelivered,
  })
}
