import type { Database } from '../storage/database.js'
import type { FrameworkEvents } from './framework-events.js'
import { createReceiverTermsReadModel } from './receiver-terms-read-model.js'
import { createSilentPauseReadModel } from './silent-pause-read-model.js'
import { applyByHub, dropsWork, letsGo, statusAudit } from './status-change.js'
import type { StatusCause, StatusSetter, Stream, StreamSettings, StreamStatus } from './stream.js'
import type { AuditTrail, OpenWork, StreamObserver } from './stream-collaborators.js'
import { inactivityTimeoutOf } from './stream-configuration.js'
import { StatusHeld, StreamNotFound } from './stream-errors.js'
import { createStreamRepository, type StatusChange } from './stream-repository.js'

export interface StreamStatusServiceOptions {
  db: Database
  events: FrameworkEvents
  observer: StreamObserver
  openWork: OpenWork
  audit: AuditTrail
  settings: Pick<StreamSettings, 'inactivityTimeoutS'>
}

/** SSF 1.0 §8.1.2.1: the wire form. */
export interface StatusView {
  readonly streamId: string
  readonly status: StreamStatus
  readonly reason: string | undefined
}

export interface StatusResult extends StatusView {
  /** False: recorded, but the sender has not confirmed yet that it stopped. */
  readonly confirmed: boolean
}

/** A status that the hub sets by a rule of its own, or an operator. */
export interface HubStatusOptions {
  by?: Exclude<StatusSetter, 'receiver'>
  /** For the audit log. */
  actor?: string
  /** Why the hub pauses it. */
  cause?: StatusCause
  /** Only while the stream's version still is this one: what was seen of an older one says nothing. */
  version?: number
}

export interface StreamStatusService {
  read(receiverId: string, streamId: string): Promise<StatusView>
  /** The receiver's wish. Throws StreamNotFound, StatusHeld. */
  setStatus(
    receiverId: string,
    streamId: string,
    wish: { status: StreamStatus; reason?: string | undefined },
  ): Promise<StatusResult>
  /**
   * The hub's decision; the receiver is told by stream-updated (SSF 1.0 §8.1.2, §8.1.5). The hub itself pauses only what
   * is enabled, and never enables what a person stopped: then, and when nothing changes, `changed` is false. Throws
   * StreamNotFound.
   */
  setStatusByHub(
    streamId: string,
    status: StreamStatus,
    reason: string | undefined,
    options?: HubStatusOptions,
  ): Promise<StatusResult & { changed: boolean }>
  /**
   * The endpoint has taken the notice: enables what the hub paused for failing, and nothing else. Resolves once that is
   * durable; whoever sends takes note later, since it waits for this. A stream that is gone is none to enable.
   */
  enableFailing(streamId: string): Promise<void>
  /**
   * The notice is all that asks the endpoint of a stream that was paused for failing: where it expired, was discarded or
   * does not open, writes another; where the stream is not pushed to any more, enables it. Several processes may call it.
   * @param failed told of a stream that could not be seen to, which keeps no other from it
   * @returns how many streams it found
   */
  reviveFailing(failed: (streamId: string, error: unknown) => void): Promise<number>
}

/** Since the status was set, or its notice written again: a notice is on its way through the log for a while. */
const NOTICE_SETTLES_S = 300

export function createStreamStatusService(options: StreamStatusServiceOptions): StreamStatusService {
  const { db, events } = options

  /** Resolves once nothing more goes out. Enabling needs no confirmation: it takes nothing back. */
  async function settle(stream: Stream): Promise<StatusResult> {
    const confirmed = await options.observer.streamChanged(stream.streamId)
    return { ...toView(stream), confirmed: confirmed || stream.status === 'enabled' }
  }

  async function decide(
    streamId: string,
    wish: Pick<StatusChange, 'status' | 'reason'>,
    { by = 'hub', actor = 'hub', cause, version }: HubStatusOptions = {},
  ): Promise<{ stream: Stream; changed: boolean }> {
    const outcome = await db.transaction(async (trx) => {
      const streams = createStreamRepository(trx)
      const current = await streams.lockAny(streamId)
      if (!current) throw new StreamNotFound()
      const { status } = wish
      const unchanged = current.status === status && (by === 'hub' || current.statusBy === 'operator')
      const isStale = version !== undefined && version !== current.version
      if (unchanged || isStale || (by === 'hub' && !hubMay(current, status, cause))) {
        return { stream: current, changed: false }
      }
      const change = { ...wish, by, actor, ...(status === 'paused' ? { cause } : {}) }
      return { stream: await applyByHub(trx, options, current, change), changed: true }
    })
    if (outcome.changed) events.wake()
    return outcome
  }

  async function enableFailing(streamId: string): Promise<void> {
    try {
      const reason = 'The endpoint takes events again.'
      const { stream, changed } = await decide(streamId, { status: 'enabled', reason }, { cause: 'failing' })
      if (changed) void settle(stream).catch(() => {})
    } catch (error) {
      if (!(error instanceof StreamNotFound)) throw error
    }
  }

  async function renewNotice(streamId: string): Promise<void> {
    await db.transaction(async (trx) => {
      const streams = createStreamRepository(trx)
      const current = await streams.lockAny(streamId)
      // Another process may have been here since it was found.
      const [found] = await createSilentPauseReadModel(trx).find(NOTICE_SETTLES_S, streamId)
      if (!current || !found) return
      await streams.noteNotice(streamId)
      await events.streamUpdated(trx, streamId, current.status, current.statusReason)
    })
    events.wake()
  }

  async function revive(streamId: string): Promise<void> {
    const stream = await createStreamRepository(db).findAny(streamId)
    if (stream?.deliveryMethod === 'push') await renewNotice(streamId)
    else await enableFailing(streamId)
  }

  return {
    async read(receiverId, streamId) {
      const streams = createStreamRepository(db)
      const [stream, terms] = await Promise.all([
        streams.find(receiverId, streamId),
        createReceiverTermsReadModel(db).find(receiverId),
      ])
      if (!stream || !terms) throw new StreamNotFound()
      // Only where there is a timer to restart: reading is no reason to write.
      if (inactivityTimeoutOf(terms, options.settings)) await streams.touch([streamId])
      return toView(stream)
    },

    async setStatus(receiverId, streamId, { status, reason }) {
      const stream = await db.transaction(async (trx) => {
        const streams = createStreamRepository(trx)
        const current = await streams.lock(receiverId, streamId)
        if (!current) throw new StreamNotFound()
        if (current.statusBy === 'operator' && current.status !== 'enabled') {
          if (current.status === status) return current
          throw new StatusHeld()
        }
        if (dropsWork(current.status, status)) await options.openWork.discard(trx, streamId, 'deleted')
        if (letsGo(current.status, status)) await options.openWork.putHeldInOrder(trx, streamId)
        const change: StatusChange = { status, reason, by: 'receiver' }
        if (current.status !== status) {
          await options.audit.record(trx, {
            actor: `receiver:${receiverId}`,
            ...statusAudit(streamId, change),
          })
        }
        return streams.saveStatus(streamId, change)
      })
      return settle(stream)
    },

    async setStatusByHub(streamId, status, reason, by) {
      const outcome = await decide(streamId, { status, reason }, by)
      return { ...(await settle(outcome.stream)), changed: outcome.changed }
    },

    enableFailing,

    async reviveFailing(failed) {
      const found = await createSilentPauseReadModel(db).find(NOTICE_SETTLES_S)
      for (const streamId of found) {
        try {
          await revive(streamId)
        } catch (error) {
          failed(streamId, error)
        }
      }
      return found.length
    },
  }
}

/** What a person or the receiver decided stands until they decide otherwise. */
function hubMay(current: Stream, status: StreamStatus, cause: StatusCause | undefined): boolean {
  if (status === 'paused') return current.status === 'enabled'
  if (status !== 'enabled') return true
  return current.statusBy === 'hub' && (cause === undefined || current.statusCause === cause)
}

function toView(stream: Stream): StatusView {
  return { streamId: stream.streamId, status: stream.status, reason: stream.statusReason }
}
