import { median, quantile } from './statistics.js'

/** When events were meant to leave: event i at `startMs` + i / rate, on the monotonic clock. */
export interface Schedule {
  readonly startMs: number
  readonly ratePerS: number
  /** Events really sent; the rest of the window is not looked at. */
  readonly sent: number
}

export interface ArrivalSummary {
  /** Distinct (event, stream) pairs that arrived. */
  readonly delivered: number
  /** The same SET on the same stream once more: allowed (at least once), but not free. */
  readonly duplicates: number
  /** From the intended send time to the arrival, in ms. */
  readonly p50Ms: number
  readonly p99Ms: number
  readonly maxMs: number
  /** Until an event had reached the last of its streams: the median over the events, ms. */
  readonly lastP50Ms: number
  /** How much later the last third of the events arrived than the first third (medians), ms. */
  readonly growthMs: number
  /** From the end of the schedule to the last arrival, ms. */
  readonly drainMs: number
  /** Arrivals per second, from the start to the last of them. */
  readonly deliveredPerS: number
}

export interface Arrivals {
  /** @returns whether the event belongs to this window */
  record(seq: number, stream: number, atMs: number): boolean
  delivered(): number
  summarise(schedule: Schedule): ArrivalSummary
}

/** Arrival times of the events `firstSeq` to `firstSeq + count - 1` on each of `streams` streams. */
export function createArrivals(window: { firstSeq: number; count: number; streams: number }): Arrivals {
  const { firstSeq, count, streams } = window
  // 0 is "not yet": the monotonic clock is past it.
  const times = new Float64Array(count * streams)
  let delivered = 0
  let duplicates = 0

  function latenciesOf(schedule: Schedule, fromEvent: number, toEvent: number): Float64Array {
    const latencies = new Float64Array((toEvent - fromEvent) * streams)
    let found = 0
    for (let event = fromEvent; event < toEvent; event += 1) {
      const meantMs = schedule.startMs + (event * 1000) / schedule.ratePerS
      for (let stream = 0; stream < streams; stream += 1) {
        const atMs = times[event * streams + stream] as number
        if (atMs > 0) latencies[found++] = atMs - meantMs
      }
    }
    return latencies.subarray(0, found).sort()
  }

  return {
    record(seq, stream, atMs) {
      const event = seq - firstSeq
      if (!(event >= 0 && event < count && stream >= 0 && stream < streams)) return false
      const place = event * streams + stream
      if (times[place] !== 0) {
        duplicates += 1
      } else {
        times[place] = atMs
        delivered += 1
      }
      return true
    },
    delivered: () => delivered,
    summarise(schedule) {
      const sent = Math.min(schedule.sent, count)
      const all = latenciesOf(schedule, 0, sent)
      const third = Math.max(1, Math.floor(sent / 3))
      const first = latenciesOf(schedule, 0, Math.min(third, sent))
      const last = latenciesOf(schedule, Math.max(0, sent - third), sent)
      const lastMs = times.reduce((latest, atMs) => Math.max(latest, atMs), 0)
      const endMs = schedule.startMs + (sent * 1000) / schedule.ratePerS
      return {
        delivered,
        duplicates,
        p50Ms: quantile(all, 0.5),
        p99Ms: quantile(all, 0.99),
        maxMs: quantile(all, 1),
        lastP50Ms: median(
          Array.from(
            { length: sent },
            (_, event) => latenciesOf(schedule, event, event + 1).at(-1) ?? Number.NaN,
          ),
        ),
        growthMs: quantile(last, 0.5) - quantile(first, 0.5),
        drainMs: lastMs - endMs,
        deliveredPerS: (delivered * 1000) / (lastMs - schedule.startMs),
      }
    },
  }
}
