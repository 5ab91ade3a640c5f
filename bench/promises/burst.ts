import { median, medianRatio } from '../statistics.js'
import type { Finding } from './finding.js'
import { openScene, type PromiseContext } from './scene.js'

const STREAMS = 1_000
const WARM_UP = { ratePerS: 0.7, seconds: 4 }

/** One event to many receivers whose connections are open: until the last of them has it. */
export async function measureBurst(context: PromiseContext): Promise<Finding[]> {
  const { kit, say, quick } = context
  const streams = quick ? 100 : STREAMS
  const { hub, bare } = await openScene(context, { streams })
  for (const system of [bare, hub]) await kit.runLoad(system, WARM_UP)
  const pairs: [number, number][] = []
  for (let round = 1; round <= (quick ? 1 : 3); round += 1) {
    const { lastP50Ms: bareMs } = await kit.runLoad(bare, WARM_UP)
    const { lastP50Ms: hubMs } = await kit.runLoad(hub, WARM_UP)
    say(`round ${round}: the last of ${streams} after ${hubMs.toFixed(0)} ms, bare ${bareMs.toFixed(0)} ms`)
    pairs.push([hubMs, bareMs])
  }
  const [hubMs, bareMs] = [0, 1].map((side) => median(pairs.map((pair) => pair[side] as number)).toFixed(0))
  return [
    {
      promise: `one event to ${streams} warm receivers, until the last has it, against the bare process`,
      seen: medianRatio(pairs),
      unit: '×',
      bound: 1.5,
      detail: `${hubMs} ms, bare ${bareMs} ms`,
    },
  ]
}
