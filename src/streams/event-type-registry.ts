import { describeError } from '../kernel/errors.js'
import type { Logger } from '../kernel/logger.js'
import { createPeriodicWorker } from '../kernel/periodic-worker.js'
import type { Worker } from '../kernel/worker.js'
import { BUILT_IN_EVENT_TYPES, createEventTypes, type EventTypes } from '../secevent/event-types.js'
import type { Database } from '../storage/database.js'
import { createEventTypeRepository } from './event-type-repository.js'

/** The types that this process goes by: one object for all, which follows the table. */
export interface EventTypeRegistry extends EventTypes, Worker {
  /** Reads the table again, if it changed; to be called after a change, here or in another process. */
  refresh(): Promise<void>
}

export interface EventTypeRegistryOptions {
  readonly db: Database
  readonly logger: Logger
  /** The types are others than before, or have been read for the first time. */
  onChanged(): Promise<unknown>
  /** Behind the hints. Default 5 s. */
  readonly refreshEveryMs?: number
}

/**
 * While Postgres is away the types that were read last count on. The first reading must succeed: else a registered type
 * would be taken for an unknown one, and its events kept from everybody.
 */
export function createEventTypeRegistry(options: EventTypeRegistryOptions): EventTypeRegistry {
  const types = createEventTypeRepository(options.db)
  let current = BUILT_IN_EVENT_TYPES
  let version: string | undefined
  let reading: Promise<void> = Promise.resolve()

  async function read(): Promise<void> {
    // The version first: what is read after it can only be newer, and is then read once more.
    const found = await types.version()
    if (found === version) return
    current = createEventTypes(await types.all())
    version = found
    try {
      await options.onChanged()
    } catch (error) {
      version = undefined
      options.logger.warn('event_types.unsettled', { reason: describeError(error) })
    }
  }

  function refresh(): Promise<void> {
    reading = reading.catch(() => {}).then(read)
    return reading
  }

  const worker = createPeriodicWorker({
    name: 'event-types',
    everyMs: options.refreshEveryMs ?? 5_000,
    round: refresh,
    failed: {
      event: 'event_types.refresh_failed',
      says: 'the registered event types could not be read again',
    },
    logger: options.logger,
  })
  return {
    ...worker,
    async start() {
      await refresh()
      await worker.start()
    },
    refresh,
    get: (type) => current.get(type),
    supported: () => current.supported(),
  }
}
