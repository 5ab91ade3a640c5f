/** What one hub was seen to use, over all its processes. */
export interface HubUsage {
  /** The most, MiB; undefined when none answered. */
  rssMiB(): number | undefined
  /** The longest that the event loop was late, ms: the most, for one long stop among a second of short ones is no p99. */
  loopLagMs(): number | undefined
  /** A process says that it is ready. */
  ready(pid: number): void
  /** It is alive now, whether it answers or not. */
  alive(pid: number): void
  /** It was asked for its metrics and is alive, and did not answer for so long. */
  silent(ms: number): void
  /** What its metrics say. The lag starts anew with each answer, so each must come here. */
  told(pid: number, metrics: string): void
  /** The longest that a process was ready, without saying how late its event loop was; ms. */
  unseenMs(): number
}

interface Lived {
  readyMs?: number
  aliveMs: number
  answers: number
}

export function createHubUsage(): HubUsage {
  const lives = new Map<number, Lived>()
  let rss: number | undefined
  let lag: number | undefined

  function lifeOf(pid: number): Lived {
    const life = lives.get(pid) ?? { aliveMs: performance.now(), answers: 0 }
    lives.set(pid, life)
    return life
  }

  return {
    rssMiB: () => rss,
    loopLagMs: () => lag,
    ready(pid) {
      lifeOf(pid).readyMs ??= performance.now()
    },
    alive(pid) {
      lifeOf(pid).aliveMs = performance.now()
    },
    silent(ms) {
      lag = Math.max(lag ?? 0, ms)
    },
    told(pid, metrics) {
      const life = lifeOf(pid)
      rss = most(rss, metricOf(metrics, 'process_resident_memory_bytes'), 1 / 1_048_576)
      // The first answer of a process covers its start, when it compiles.
      if (life.answers > 0) lag = most(lag, metricOf(metrics, 'nodejs_eventloop_lag_max_seconds'), 1_000)
      life.answers += 1
    },
    unseenMs() {
      const unseen = [...lives.values()].flatMap(({ readyMs, aliveMs, answers }) =>
        answers < 2 && readyMs !== undefined ? [aliveMs - readyMs] : [],
      )
      return Math.max(0, ...unseen)
    },
  }
}

function most(known: number | undefined, value: number | undefined, factor: number): number | undefined {
  if (value === undefined || Number.isNaN(value)) return known
  return Math.max(known ?? 0, Math.round(value * factor))
}

function metricOf(text: string, name: string): number | undefined {
  const found = new RegExp(`^${name} (\\S+)$`, 'm').exec(text)?.[1]
  return found === undefined ? undefined : Number(found)
}
