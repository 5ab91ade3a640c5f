import { measureParts } from '../process-usage.js'
import { median } from '../statistics.js'
import type { Finding } from './finding.js'
import { openScene, type PromiseContext } from './scene.js'

const STREAMS = 5
const RATE_PER_S = 100
const SECONDS = 600
const EVERY_MS = 2_000

/** Ten minutes of a steady load: whether the hub's memory grows with what has gone through it. */
export async function measureSoak(context: PromiseContext): Promise<Finding[]> {
  const { kit, say, quick } = context
  const { hub } = await openScene(context, { streams: STREAMS })
  const seconds = quick ? 20 : SECONDS
  const samples: number[] = []
  const timer = setInterval(() => {
    const memoryMb = measureParts({ hub: hub.pids.hub ?? -1 }).hub?.memoryMb
    if (memoryMb !== undefined) samples.push(memoryMb)
    if (samples.length % 30 === 0) say(`hub ${memoryMb?.toFixed(0)} MB`)
  }, EVERY_MS)
  const run = await kit.runLoad(hub, { ratePerS: RATE_PER_S, seconds }).finally(() => clearInterval(timer))
  if (run.missing > 0) throw new Error(`${run.missing} SETs did not arrive`)
  // The first fifth is the warm-up of caches and of the compiler.
  const fifth = Math.floor(samples.length / 5)
  const early = median(samples.slice(fifth, 2 * fifth))
  const late = median(samples.slice(-fifth))
  return [
    {
      promise: `memory of the hub at the end of ${seconds} s at ${RATE_PER_S} events/s to ${STREAMS} streams, against after ${Math.round(seconds / 5)} s`,
      seen: late / early,
      unit: '×',
      bound: 1.1,
      detail: `${late.toFixed(0)} MB, ${early.toFixed(0)} MB, at most ${Math.max(...samples).toFixed(0)} MB; p99 ${run.p99Ms.toFixed(1)} ms`,
    },
  ]
}
