import { setTimeout as sleep } from 'node:timers/promises'
import { type HubUnderTest, registerSource, TYPES } from '../hub-under-test.js'
import { createLoadRunner } from '../load.js'
import { createSourceIdentity } from '../source-identity.js'
import type { Finding } from './finding.js'
import { openScene, type PromiseContext } from './scene.js'

const STREAMS = 5
const DELIVERIES = 200_000
const FILL_PER_S = 400
/** What is measured: few enough to be no load of their own. */
const PROBE = { ratePerS: 10, seconds: 10 }
const FILL_WAIT_MS = 300_000

/**
 * Revocations while a backlog goes out on the same streams: behind routine SETs, and behind urgent ones of another source.
 * The backlog is made while the streams are paused.
 */
export async function measureBacklog(context: PromiseContext): Promise<Finding[]> {
  const { kit, say, quick } = context
  const deliveries = quick ? 5_000 : DELIVERIES
  const findings: Finding[] = []
  for (const kind of ['routine', 'urgent'] as const) {
    const { hub } = await openScene(context, { streams: STREAMS })
    await kit.runLoad(hub, PROBE)
    const idle = await kit.runLoad(hub, PROBE)
    say(`idle: p99 ${idle.p99Ms.toFixed(1)} ms`)
    await fill(context, hub, { deliveries, type: TYPES[kind] })
    await setStatus(hub, 'enabled')
    const during = await kit.runLoad(hub, PROBE)
    const left = await countOpen(hub)
    say(`${kind} backlog: p99 ${during.p99Ms.toFixed(1)} ms, ${left} of ${deliveries} still open`)
    if (left === 0 && !quick) throw new Error('the backlog had gone out before the probes had')
    await hub.stop()
    findings.push({
      promise: `p99 of revocations behind ${deliveries.toLocaleString('en-US')} ${kind} deliveries${kind === 'urgent' ? ' of another source' : ''}, against idle`,
      seen: during.p99Ms / idle.p99Ms,
      unit: '×',
      bound: 2,
      detail: `${during.p99Ms.toFixed(1)} ms, idle ${idle.p99Ms.toFixed(1)} ms, ${left.toLocaleString('en-US')} open at the end`,
    })
  }
  return findings
}

/** By a source of its own, as a flood is. */
async function fill(
  { kit, say }: PromiseContext,
  hub: HubUnderTest,
  { deliveries, type }: { deliveries: number; type: string },
): Promise<void> {
  const source = { ...createSourceIdentity(), issuer: 'https://flood.bench.example' }
  const ingestUrl = await registerSource(hub.hub, source, 'flood')
  const flood = createLoadRunner({ ...kit, source })
  await setStatus(hub, 'paused')
  const events = deliveries / STREAMS
  say(`queueing ${deliveries} deliveries`)
  const filled = await flood(
    { ...hub, ingestUrl, streams: 0 },
    { ratePerS: FILL_PER_S, seconds: events / FILL_PER_S, type },
  )
  const until = performance.now() + FILL_WAIT_MS
  while ((await countOpen(hub)) < filled.accepted * STREAMS) {
    if (performance.now() > until) throw new Error(`${await countOpen(hub)} of ${deliveries} were queued`)
    await sleep(500)
  }
}

async function setStatus({ hub, subscriptions }: HubUnderTest, status: 'paused' | 'enabled'): Promise<void> {
  for (const { streamId, token } of subscriptions)
    await hub.call('POST', '/ssf/status', { stream_id: streamId, status }, token)
}

async function countOpen({ hub }: HubUnderTest): Promise<number> {
  const metrics = await (await fetch(`${hub.managementUrl}/metrics`)).text()
  return [...metrics.matchAll(/^firebreak_open_deliveries\{.*\} (\d+)$/gm)].reduce(
    (sum, [, count]) => sum + Number(count),
    0,
  )
}
