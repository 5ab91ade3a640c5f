import { setTimeout as delay } from 'node:timers/promises'
import type { Clock } from '../kernel/clock.js'
import { describeError } from '../kernel/errors.js'
import type { Logger } from '../kernel/logger.js'
import { createWake } from '../kernel/wake.js'
import type { Worker } from '../kernel/worker.js'
import type { Database } from './database.js'
import { createLeaseRepository } from './lease-repository.js'

/** A lease ends this long after its last renewal, on the database's clock. */
export const LEASE_MS = 8_000
const RENEW_MS = 2_000
/** Twice per renewal, so that the units of a dead process are taken within 10 s of its death. */
const TICK_MS = 1_000
/** Told as lost this long before its end, for clocks that do not run at quite the same rate and for work in flight. */
const MARGIN_MS = 500

export interface Lease {
  readonly unit: number
  /** Rises with each change of owner; results are written only under the current one. */
  readonly epoch: number
  /** On the monotonic clock: it surely ends then, if not renewed. */
  readonly endsAtMonotonicMs: number
}

export interface LeaseChange {
  gained: Lease[]
  lost: number[]
}

export type LeaseListener = (change: LeaseChange) => unknown

/** Told as lost, still ours in the database until what was begun under them has ended. */
interface Leaving {
  readonly leases: readonly Lease[]
  ended: boolean
}

/** The units of one kind that this process owns now. */
export interface LeaseSet extends Worker {
  owned(): ReadonlyMap<number, Lease>
  get(unit: number): Lease | undefined
  /**
   * Lost units are told before they can belong to another process. A promise that the listener answers holds those
   * that are given away back until it is settled, or until their lease ends by itself.
   */
  onChange(listener: LeaseListener): void
}

export interface LeaseOptions {
  db: Database
  kind: string
  /** Units are numbered from 0. */
  units: number
  processId: string
  clock: Pick<Clock, 'monotonicMs'>
  logger: Logger
}

/**
 * Shares the units of a kind evenly between the processes that hold leases of that kind and live. Who has too many says so
 * to its listeners first and gives them back once their work has ended; who has too few takes what is free or over.
 */
export function createLeases(options: LeaseOptions): LeaseSet {
  const { kind, clock, logger } = options
  const repository = createLeaseRepository({ ...options, leaseMs: LEASE_MS })
  const listeners: LeaseListener[] = []
  const wake = createWake()
  let owned = new Map<number, Lease>()
  let leaving: Leaving[] = []
  let expiry: NodeJS.Timeout | undefined
  let loop: Promise<void> | undefined
  let stopped = false
  let renewedAt = Number.NEGATIVE_INFINITY
  let failure: string | undefined

  function isValid(lease: Lease): boolean {
    return clock.monotonicMs() < lease.endsAtMonotonicMs
  }

  /** Resolves when the listeners have ended what they did under the leases that are lost. */
  async function replaceOwned(next: Map<number, Lease>): Promise<void> {
    const before = owned
    owned = next
    const gained = [...next.values()].filter((lease) => before.get(lease.unit)?.epoch !== lease.epoch)
    const lost = [...before.values()].filter((lease) => next.get(lease.unit)?.epoch !== lease.epoch)
    scheduleExpiry()
    if (gained.length === 0 && lost.length === 0) return
    logger.info('lease.changed', { kind, gained: gained.length, lost: lost.length, owned: next.size })
    const change = { gained, lost: lost.map((lease) => lease.unit) }
    await Promise.allSettled(listeners.map((listener) => listener(change)))
  }

  /** Without an answer from the database, leases end by themselves, and their users must know in time. */
  function scheduleExpiry(): void {
    clearTimeout(expiry)
    if (owned.size === 0) return
    const first = Math.min(...[...owned.values()].map((lease) => lease.endsAtMonotonicMs))
    const wait = Math.max(1, Math.ceil(first - clock.monotonicMs()))
    expiry = setTimeout(() => void replaceOwned(onlyValid(owned.values())), wait)
  }

  function onlyValid(leases: Iterable<Lease>): Map<number, Lease> {
    return new Map([...leases].filter(isValid).map((lease) => [lease.unit, lease]))
  }

  /** Counted from before the statement was sent: the database cannot have started the term earlier. */
  async function timed(read: () => Promise<{ unit: number; epoch: number }[]>): Promise<Lease[]> {
    const endsAtMonotonicMs = clock.monotonicMs() + LEASE_MS - MARGIN_MS
    return (await read()).map((row) => ({ ...row, endsAtMonotonicMs }))
  }

  /** What is neither released nor renewed ends by itself, after any attempt that was begun under it. */
  async function releaseEnded(): Promise<void> {
    await repository.release(leaving.filter(({ ended }) => ended).flatMap(({ leases }) => leases))
    leaving = leaving.filter(({ ended, leases }) => !ended && leases.some(isValid))
  }

  async function tick(): Promise<void> {
    await releaseEnded()
    const target = await repository.beatAndShare()
    const renewing = clock.monotonicMs() - renewedAt >= RENEW_MS - TICK_MS / 2
    const startedAt = clock.monotonicMs()
    const given = leaving.flatMap(({ leases }) => leases.map(({ unit }) => unit))
    const kept = renewing ? await timed(() => repository.renew(given)) : [...owned.values()].filter(isValid)
    if (renewing) renewedAt = startedAt
    kept.sort((a, b) => a.unit - b.unit)
    const giving: Leaving = { leases: kept.slice(target), ended: false }
    if (giving.leases.length > 0) leaving.push(giving)
    const missing = target - kept.length
    const taken = missing > 0 ? await timed(() => repository.take(missing)) : []
    void replaceOwned(onlyValid([...kept.slice(0, target), ...taken])).then(() => {
      giving.ended = true
    })
  }

  async function tickSafely(): Promise<void> {
    try {
      await tick()
      failure = undefined
    } catch (error) {
      failure = describeError(error)
      logger.warn('lease.failed', { kind, reason: failure })
    }
  }

  async function run(): Promise<void> {
    while (!stopped) {
      await wake.wait(TICK_MS)
      if (!stopped) await tickSafely()
    }
  }

  return {
    name: `leases ${kind}`,
    owned: () => owned,
    get(unit) {
      const lease = owned.get(unit)
      return lease && isValid(lease) ? lease : undefined
    },
    onChange: (listener) => void listeners.push(listener),
    async start() {
      await tickSafely()
      loop = run()
    },
    async stop() {
      stopped = true
      wake.ring()
      await loop
      const all = [...owned.values(), ...leaving.flatMap(({ leases }) => leases)]
      await Promise.race([replaceOwned(new Map()), delay(LEASE_MS, undefined, { ref: false })])
      await repository.leave(all).catch((error: unknown) => {
        logger.warn('lease.release_failed', { kind, reason: describeError(error) })
      })
    },
    health: () => (failure ? { ok: false, reason: `leases for ${kind}: ${failure}` } : { ok: true }),
  }
}
