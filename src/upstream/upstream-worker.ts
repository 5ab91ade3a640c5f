import { describeError } from '../kernel/errors.js'
import type { Metrics } from '../kernel/metrics.js'
import { createWake } from '../kernel/wake.js'
import type { Worker } from '../kernel/worker.js'
import type { LeaseSet } from '../storage/leases.js'
import { type KeeperOptions, type StreamKeeper, startStreamKeeper } from './stream-keeper.js'
import { upstreamStreamRepository as repository } from './upstream-stream-repository.js'

/** Streams are kept in this many units, shared between the processes. */
export const UPSTREAM_UNITS = 16

export interface UpstreamWorker extends Worker {
  /** A stream may have changed. */
  ring(): void
}

export interface UpstreamWorkerOptions extends Omit<KeeperOptions, 'polls'> {
  leases: LeaseSet
  metrics: Metrics
}

const LOOK_EVERY_MS = 2_000
/** Transmitter ids are random, so their first bytes spread them. */
const unitOf = (transmitterId: string) => Number.parseInt(transmitterId.slice(0, 8), 16) % UPSTREAM_UNITS

/** Keeps those streams at upstream transmitters whose unit this process holds; started after `leases`. */
export function createUpstreamWorker(options: UpstreamWorkerOptions): UpstreamWorker {
  const { leases, db, logger } = options
  const polls = options.metrics.counter(
    'firebreak_upstream_polls_total',
    'Polls of upstream transmitters, by result.',
    ['result'],
  )
  const keepers = new Map<string, StreamKeeper>()
  const wake = createWake()
  let stopped = false
  let loop: Promise<void> | undefined
  let failure: string | undefined

  const isOurs = (id: string) => !stopped && leases.get(unitOf(id)) !== undefined

  /** Resolves once nothing is done any more for streams that are another's now. */
  async function letGo(except: (id: string) => boolean): Promise<void> {
    const going = [...keepers].filter(([id]) => !except(id))
    for (const [id] of going) keepers.delete(id)
    await Promise.all(going.map(([, keeper]) => keeper.stop()))
  }

  async function look(): Promise<void> {
    const ids = new Set(await repository.listIds(db))
    await letGo((id) => ids.has(id) && isOurs(id))
    for (const id of ids) {
      if (!keepers.has(id) && isOurs(id)) keepers.set(id, startStreamKeeper(id, { ...options, polls }))
    }
  }

  async function run(): Promise<void> {
    while (!stopped) {
      try {
        await look()
        failure = undefined
      } catch (error) {
        failure = describeError(error)
        logger.warn('upstream.look_failed', { reason: failure })
      }
      await wake.wait(LOOK_EVERY_MS)
    }
  }

  leases.onChange(async () => {
    wake.ring()
    await letGo(isOurs)
  })

  return {
    name: 'upstream',
    ring() {
      wake.ring()
      for (const keeper of keepers.values()) keeper.ring()
    },
    async start() {
      loop = run()
    },
    async stop() {
      stopped = true
      wake.ring()
      await loop
      await letGo(() => false)
    },
    health: () =>
      failure
        ? { ok: true, reason: `streams at upstream transmitters cannot be looked up: ${failure}` }
        : { ok: true },
  }
}

/** The states of all streams at upstream transmitters; every process tells the same. */
const STATES = ['setup', 'stopped', 'leaving', 'unverified', 'enabled', 'paused', 'disabled']

export function exposeUpstreamStreams(metrics: Metrics, db: KeeperOptions['db']): void {
  const gauge = metrics.gauge(
    'firebreak_upstream_streams',
    'Streams that the hub holds at upstream transmitters, by state.',
    ['state'],
  )
  metrics.beforeScrape(async () => {
    const found = new Map((await repository.countStates(db)).map(({ state, count }) => [state, count]))
    for (const state of new Set([...STATES, ...found.keys()])) gauge.set(found.get(state) ?? 0, { state })
  })
}
