import { setTimeout as sleep } from 'node:timers/promises'
import { sqlRows } from '../../src/storage/database.js'
import { waitUntil } from '../../test/support/wait.js'
import { monotonicMs } from '../monotonic.js'
import { arrivals, type Figures, type MeasureContext, send } from './measures.js'
import { TYPES } from './world.js'

const EVERY_MS = 100
const BEFORE_MS = 1_500
const AFTER_MS = 14_000
/** Sent before the kill and not yet on the wire. */
const ON_THE_WIRE_MS = 50

/**
 * Kills one of two hubs while events come in at the other. Per stream: from the kill to the next arrival. Streams that
 * the survivor had all along wait for nothing, the others for the end of the leases.
 */
export async function measureTakeover(context: MeasureContext): Promise<Figures> {
  const { world, probes } = context
  world.second.start()
  await world.second.ready()
  await waitUntil('both hubs send', async () => (await owners(context)).length === 2, { deadlineMs: 30_000 })
  const began = monotonicMs()
  const sent: { txn: string; sentMs: number }[] = []
  let killedMs = 0
  while (monotonicMs() - began < BEFORE_MS + AFTER_MS) {
    if (killedMs === 0 && monotonicMs() - began > BEFORE_MS) {
      world.hub.signal('SIGKILL')
      killedMs = monotonicMs()
    }
    const reaches = probes.takeoverStreams.length
    sent.push(await send(context, world.second, { type: TYPES.takeover, reaches }))
    await sleep(EVERY_MS)
  }
  await world.hub.ended()
  for (const one of sent) await arrivals(context, one)
  const silences = probes.takeoverStreams.map((id) => {
    const after = sent
      .map(({ txn }) => world.endpoints.arrivalsOf(txn).get(`/ok/takeover-${id}`) ?? Number.NaN)
      .filter((atMs) => atMs > killedMs + ON_THE_WIRE_MS)
    return Math.min(...after) - killedMs
  })
  return {
    takeover_worst_s: Math.max(...silences) / 1000,
    takeover_moved_streams: silences.filter((silence) => silence > 1_000).length,
  }
}

/** Processes with at least a third of the delivery shards. */
async function owners({ world }: MeasureContext): Promise<object[]> {
  return sqlRows<object>(
    world.db,
    `select owner from leases where kind = 'delivery' and expires_at > clock_timestamp()
     group by owner having count(*) >= 85`,
  )
}
