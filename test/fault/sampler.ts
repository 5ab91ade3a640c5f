import type { FaultHub } from './rig.js'

export interface Sampler {
  stop(): Promise<void>
}

const EVERY_MS = 1_000
/** So long that a loop that stands still for a while tells of it itself, when it goes on. */
const SILENT_MS = 30_000

/** Asks the metrics of each hub every second, so that its usage knows them. A hub that is down has none. */
export function startSampler(hubs: () => readonly FaultHub[]): Sampler {
  const stopping = new AbortController()
  let wake = () => {}

  async function sample(hub: FaultHub): Promise<void> {
    if (!hub.isUp()) return
    const pid = hub.pid()
    hub.usage.alive(pid)
    const timeout = AbortSignal.timeout(SILENT_MS)
    try {
      await hub.metrics({ signal: AbortSignal.any([timeout, stopping.signal]) })
    } catch {
      // Down on purpose, unless it is there and says nothing.
      if (timeout.aborted && hub.isUp() && hub.pid() === pid) hub.usage.silent(SILENT_MS)
    }
  }

  async function run(): Promise<void> {
    while (!stopping.signal.aborted) {
      await Promise.all(hubs().map(sample))
      if (stopping.signal.aborted) return
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
    async stop() {
      stopping.abort()
      wake()
      await running
    },
  }
}
