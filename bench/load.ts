import type { ArrivalSummary } from './arrivals.js'
import type { BenchChild } from './child.js'
import type { DriveResult } from './driver.js'
import { TYPES } from './hub-under-test.js'
import { measureParts, type Part, type PartPids, type Usage } from './process-usage.js'
import type { SourceIdentity } from './source-identity.js'

/** What is measured: the hub or the bare process. */
export interface SystemUnderTest {
  readonly name: string
  /** Takes SETs by RFC 8935 push. */
  readonly ingestUrl: string
  readonly streams: number
  readonly pids: PartPids
}

export interface Load {
  readonly ratePerS: number
  readonly seconds: number
  /** Default: a revoked session, which is urgent. */
  readonly type?: string
}

export interface LoadResult extends ArrivalSummary, Omit<DriveResult, 'startMs'> {
  /** Accepted with 202 and not arrived on every stream by the end of the wait. */
  readonly missing: number
  readonly strays: number
  /** CPU time per delivery, µs. */
  readonly cpuUs: Partial<Record<Part, number>>
  /** At the end, under load a moment ago. */
  readonly memoryMb: Partial<Record<Part, number>>
}

export interface LoadKit {
  readonly driver: BenchChild
  readonly sink: BenchChild
  readonly source: SourceIdentity
}

export type RunLoad = (system: SystemUnderTest, load: Load) => Promise<LoadResult>

const USERS = 10_000
/** Slow rates, with many streams, may take longer for so many events, instead of saying nothing. */
const ENOUGH_EVENTS = 6
const MAX_STRETCHED_S = 15
const MIN_EVENTS = 2
const STALL_MS = 4_000
const MAX_SETTLE_MS = 40_000

/** Events of one run; at slow rates more than its seconds hold. */
export function countEvents({ ratePerS, seconds }: Load): number {
  const stretchedS = Math.min(MAX_STRETCHED_S, ENOUGH_EVENTS / ratePerS)
  return Math.max(MIN_EVENTS, Math.round(ratePerS * Math.max(seconds, stretchedS)))
}

/** Answers a function that puts one load on one system and waits until all of it has arrived. */
export function createLoadRunner({ driver, sink, source }: LoadKit): RunLoad {
  // Never the same event twice: a repeat has no effect at the hub.
  let nextSeq = 1

  return async (system, { ratePerS, seconds, type = TYPES.urgent }) => {
    const count = countEvents({ ratePerS, seconds })
    const firstSeq = nextSeq
    nextSeq += count
    const { streams } = system
    const { issuer, audience, kid, privateJwk } = source
    await driver.ask('prepare', { firstSeq, count, issuer, audience, kid, privateJwk, users: USERS, type })
    await sink.ask('begin', { firstSeq, count, streams })
    const before = measureParts(system.pids)
    const { startMs, ...driven } = await driver.ask<DriveResult>('drive', { url: system.ingestUrl, ratePerS })
    const expected = driven.accepted * streams
    await sink.ask('settle', { expected, stallMs: STALL_MS, maxMs: MAX_SETTLE_MS })
    const after = measureParts(system.pids)
    const schedule = { startMs, ratePerS, sent: driven.sent }
    const summary = await sink.ask<ArrivalSummary & { strays: number }>('summarise', schedule)
    return {
      ...driven,
      ...summary,
      missing: Math.max(0, expected - summary.delivered),
      ...perDelivery(before, after, summary.delivered),
    }
  }
}

function perDelivery(
  before: Partial<Record<Part, Usage>>,
  after: Partial<Record<Part, Usage>>,
  delivered: number,
): Pick<LoadResult, 'cpuUs' | 'memoryMb'> {
  const parts = Object.entries(after) as [Part, Usage][]
  return {
    cpuUs: Object.fromEntries(
      parts.map(([part, usage]) => [
        part,
        ((usage.cpuMs - (before[part]?.cpuMs ?? 0)) * 1000) / Math.max(1, delivered),
      ]),
    ),
    memoryMb: Object.fromEntries(parts.map(([part, usage]) => [part, usage.memoryMb])),
  }
}
