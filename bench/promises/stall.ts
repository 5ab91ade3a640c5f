import { setTimeout as sleep } from 'node:timers/promises'
import { median, medianRatio } from '../statistics.js'
import type { Finding } from './finding.js'
import { openScene, type PromiseContext } from './scene.js'

/** Loads at about a third of what the hub carries. */
const CASES = [
  { streams: 10, load: { ratePerS: 50, seconds: 10 } },
  { streams: 1_000, load: { ratePerS: 0.7, seconds: 10 } },
] as const
const QUIET_MS = 3_000
const MAX_QUIET_MS = 60_000

/** One endpoint takes requests and never answers: what the others see of it. */
export async function measureStall(context: PromiseContext): Promise<Finding[]> {
  const findings: Finding[] = []
  for (const one of context.quick ? CASES.slice(0, 1) : CASES) findings.push(await measureCase(context, one))
  return findings
}

async function measureCase(
  context: PromiseContext,
  { streams, load }: (typeof CASES)[number],
): Promise<Finding> {
  const { kit, say, quick } = context
  const { hub } = await openScene(context, { streams, lastApart: true })
  const others = { ...hub, streams: streams - 1 }
  await kit.runLoad(hub, load)
  const pairs: [number, number][] = []
  for (let round = 1; round <= (quick ? 1 : 3); round += 1) {
    const { p99Ms: wellMs } = await kit.runLoad(others, load)
    await kit.sink.ask('stall', { stream: streams - 1 })
    // The first attempts run into their deadline, then its breaker is open: both are part of it.
    const stalled = await kit.runLoad(others, load)
    await kit.sink.ask('stall')
    await untilQuiet(context)
    if (stalled.missing > 0) throw new Error(`${stalled.missing} SETs of healthy streams did not arrive`)
    say(
      `${streams} streams, round ${round}: p99 ${stalled.p99Ms.toFixed(1)} ms, all well ${wellMs.toFixed(1)} ms`,
    )
    pairs.push([stalled.p99Ms, wellMs])
  }
  const [stalledMs, wellMs] = [0, 1].map((side) =>
    median(pairs.map((pair) => pair[side] as number)).toFixed(1),
  )
  return {
    promise: `one stalled endpoint of ${streams}: p99 of the others, against all well`,
    seen: medianRatio(pairs),
    unit: '×',
    bound: 1.5,
    detail: `${stalledMs} ms, all well ${wellMs} ms, at ${load.ratePerS} events/s`,
  }
}

/** What the stalled one was owed has come, or comes no more. */
async function untilQuiet({ kit, signal }: PromiseContext): Promise<void> {
  const until = performance.now() + MAX_QUIET_MS
  let seen = -1
  for (;;) {
    await sleep(QUIET_MS, undefined, { signal })
    const strays = await kit.sink.ask<number>('strays')
    if (strays === seen || performance.now() > until) return
    seen = strays
  }
}
