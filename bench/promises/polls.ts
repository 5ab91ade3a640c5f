import { setTimeout as sleep } from 'node:timers/promises'
import { type HubUnderTest, type Subscription, subscribeOne } from '../hub-under-test.js'
import { measureParts } from '../process-usage.js'
import type { Finding } from './finding.js'
import { openScene, type PromiseContext } from './scene.js'

const SETS = 100
const PAGES = 100
const FILL_PER_S = 300
const WAIT_MS = 60_000

interface Answer {
  readonly jtis: readonly string[]
}

/**
 * Polls of 100 (RFC 8936). Each page is asked for twice: what the first costs more than the second is its signatures; the
 * second, with the acknowledgement, is what is promised.
 */
export async function measurePolls(context: PromiseContext): Promise<Finding[]> {
  const { kit, say, quick } = context
  const { hub } = await openScene(context, { streams: 1 })
  const stream = await subscribeOne(hub.hub, { name: 'poller' })
  const pages = quick ? 10 : PAGES
  const events = (pages + 1) * SETS
  const filled = await kit.runLoad(hub, { ratePerS: FILL_PER_S, seconds: events / FILL_PER_S })
  if (filled.missing > 0) throw new Error(`${filled.missing} SETs did not arrive by push`)
  let page = await fullPage(hub, stream)
  const spent = { signingUs: 0, answeringUs: 0 }
  for (let round = 0; round < pages; round += 1) {
    const before = cpuUs(hub)
    page = await poll(hub, stream, {})
    const signed = cpuUs(hub)
    page = await poll(hub, stream, {})
    await poll(hub, stream, { ack: page.jtis, maxEvents: 0 })
    const answered = cpuUs(hub)
    spent.answeringUs += answered - signed
    spent.signingUs += signed - before
  }
  const sets = pages * SETS
  say(`${pages} pages: ${(spent.answeringUs / sets).toFixed(1)} µs a SET, signatures apart`)
  return [
    {
      promise: `polls of ${SETS} with their acks, per core of hub and Postgres, signatures made before`,
      seen: (sets * 1_000_000) / spent.answeringUs,
      unit: 'SETs/s',
      bound: 20_000,
      isLeast: true,
      detail: `${(spent.answeringUs / sets).toFixed(0)} µs a SET; a first answer, which signs, ${(spent.signingUs / sets).toFixed(0)} µs`,
    },
  ]
}

async function fullPage(hub: HubUnderTest, stream: Subscription): Promise<Answer> {
  const until = performance.now() + WAIT_MS
  for (;;) {
    const page = await poll(hub, stream, {})
    if (page.jtis.length === SETS) return page
    if (performance.now() > until) throw new Error(`a poll brought ${page.jtis.length} SETs, not ${SETS}`)
    await sleep(200)
  }
}

async function poll(
  { hub }: HubUnderTest,
  { streamId, token }: Subscription,
  ask: { ack?: readonly string[]; maxEvents?: number },
): Promise<Answer> {
  const body = { maxEvents: SETS, returnImmediately: true, ...ask }
  const { sets } = await hub.call<{ sets: object }>('POST', `/ssf/poll/${streamId}`, body, token)
  return { jtis: Object.keys(sets) }
}

function cpuUs({ pids }: HubUnderTest): number {
  const { hub, postgres } = measureParts(pids)
  return ((hub?.cpuMs ?? 0) + (postgres?.cpuMs ?? 0)) * 1_000
}
