import type { Clock } from '../kernel/clock.js'
import { describeError, Unavailable } from '../kernel/errors.js'
import type { Logger } from '../kernel/logger.js'
import type { Worker } from '../kernel/worker.js'
import type { Transmitter } from './transmitter.js'

export interface TransmitterRegistry extends Worker {
  /**
   * From memory; one that is not there is looked for in Postgres, so a new one is known at once.
   * @throws Unavailable when Postgres does not answer and memory is too old, or does not have it
   */
  find(id: string): Promise<Transmitter | undefined>
  /** Reads all again; to be called after a change, here or in another process. Never rejects. */
  refresh(): Promise<void>
}

export interface TransmitterRegistryOptions {
  loadAll(): Promise<Transmitter[]>
  findOne(id: string): Promise<Transmitter | undefined>
  clock: Pick<Clock, 'monotonicMs'>
  logger: Logger
  /** Default 5 s. */
  refreshEveryMs?: number
  /** How long SETs are taken from a snapshot while Postgres is away. Default 5 min. */
  maxAgeMs?: number
}

/** Unknown ids cost a query each; more at once than this are told to come back. */
const MAX_LOOKUPS = 8

/** Lets ingest go on while Postgres is away, as long as the log can take events (with Kafka). */
export function createTransmitterRegistry(options: TransmitterRegistryOptions): TransmitterRegistry {
  const { clock, logger, refreshEveryMs = 5_000, maxAgeMs = 300_000 } = options
  let byId: ReadonlyMap<string, Transmitter> = new Map()
  let loadedAtMs = Number.NEGATIVE_INFINITY
  let loading: Promise<void> | undefined
  let again = false
  let timer: NodeJS.Timeout | undefined
  const lookups = new Map<string, Promise<Transmitter | undefined>>()

  const ageMs = () => clock.monotonicMs() - loadedAtMs

  async function load(): Promise<void> {
    do {
      again = false
      const beganMs = clock.monotonicMs()
      try {
        const all = await options.loadAll()
        byId = new Map(all.map((transmitter) => [transmitter.id, transmitter]))
        // The snapshot is as old as the question, not as the answer.
        loadedAtMs = beganMs
      } catch (error) {
        logger.warn('transmitter_registry.refresh_failed', {
          error: describeError(error),
          age_s: ageSeconds(),
        })
      }
    } while (again)
  }

  function refresh(): Promise<void> {
    // A load under way may have read before the change: it goes round once more.
    if (loading) again = true
    loading ??= load().finally(() => {
      loading = undefined
    })
    return loading
  }

  function ageSeconds(): number | undefined {
    return Number.isFinite(loadedAtMs) ? Math.round(ageMs() / 1000) : undefined
  }

  async function lookUp(id: string): Promise<Transmitter | undefined> {
    let lookup = lookups.get(id)
    if (!lookup) {
      if (lookups.size >= MAX_LOOKUPS)
        throw new Unavailable('The hub is busy; try again shortly.', { retryAfterS: 1 })
      lookup = options.findOne(id).finally(() => lookups.delete(id))
      lookups.set(id, lookup)
    }
    try {
      const transmitter = await lookup
      if (transmitter) byId = new Map(byId).set(id, transmitter)
      return transmitter
    } catch (cause) {
      throw new Unavailable('The hub cannot read its registry now; try again shortly.', {
        cause,
        detail: describeError(cause),
      })
    }
  }

  function schedule(): void {
    timer = setTimeout(() => void refresh().then(() => timer && schedule()), refreshEveryMs)
  }

  return {
    name: 'transmitter-registry',
    async find(id) {
      const known = byId.get(id)
      if (known && ageMs() <= maxAgeMs) return known
      return await lookUp(id)
    },
    refresh,
    async start() {
      await refresh()
      schedule()
    },
    async stop() {
      clearTimeout(timer)
      timer = undefined
      await loading
    },
    health: () =>
      ageMs() <= Math.max(3 * refreshEveryMs, 15_000)
        ? { ok: true }
        : {
            ok: ageMs() <= maxAgeMs,
            reason: `The registry of transmitters was last read ${ageSeconds() ?? 'never, or'} s ago.`,
          },
  }
}
