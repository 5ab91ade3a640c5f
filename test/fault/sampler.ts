import type { HubProcess } from '../support/hub-process.js'

export interface Sampler {
  /** The most that any hub was seen to use, MiB; undefined when none answered. */
  rssMiB(): number | undefined
  /** The longest that the event loop of any hub was late in a second that all were up, p99 of the second, ms. */
  loopLagMs(): number | undefined
  stop(): Promise<void>
}

const EVERY_MS = 1_000

/** Asks the metrics of each hub every second. A hub that is down, or just starting, has none. */
export function startSampler(hubs: () => readonly HubProcess[]): Sampler {
  let rss: number | undefined
  let lag: number | undefined
  let stopping = false
  let wake = () => {}
  const answered = new Set<number>()

  async function sample(hub: HubProcess): Promise<void> {
    try {
      const pid = hub.pid()
      const response = await fetch(`${hub.managementUrl}/metrics`, { signal: AbortSignal.timeout(5_000) })
      const text = await response.text()
      rss = most(rss, metricOf(text, 'process_resident_memory_bytes'), 1 / 1_048_576)
      // The first answer of a process covers its start, when it compiles.
      if (answered.has(pid)) lag = most(lag, metricOf(text, 'nodejs_eventloop_lag_p99_seconds'), 1_000)
      answered.add(pid)
    } catch {
      // Down on purpose.
    }
  }

  async function run(): Promise<void> {
    while (!stopping) {
      await Promise.all(hubs().map(sample))
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, EVERY_MS)
        wake = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    }
  }

  const running = run()
  return {
    rssMiB: () => rss,
    loopLagMs: () => lag,
    async stop() {
      stopping = true
      wake()
      await running
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
