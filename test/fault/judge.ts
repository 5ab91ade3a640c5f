import { setTimeout as delay } from 'node:timers/promises'
import type { Outcome } from '../support/ledger.js'
import { waitUntil } from '../support/wait.js'
import { blindSpots } from './blind-spots.js'
import type { FaultRig, FaultScene } from './rig.js'
import { BOUNDS, type Bounds, type Figures, REPEATS_FREE, type Row } from './row.js'
import { ask } from './sql.js'

const LATE_MS = 30_000
const NOTED_MS = 20_000
const LOOK_MS = 250
/** The sampler asks every second, and a hub says how late its event loop was from its second answer on. */
const UNSEEN_MS = 5_000

/** Waits for the ledger to settle and holds L1 to L7 against it. Every fault in words; none means that the row held. */
export async function judge(row: Row, rig: FaultRig): Promise<{ faults: string[]; figures: Figures }> {
  const bounds: Bounds = { ...BOUNDS, ...row.bounds }
  const faults: string[] = []
  for (const scene of rig.scenes) faults.push(...(await judgeScene(scene, bounds)))
  const figures = figuresOf(rig)
  if (faults.length === 0) for (const scene of rig.scenes) faults.push(...blindSpots(scene.ledger))
  const { recoveryMs, rssMiB, loopLagMs } = figures
  if ((recoveryMs ?? 0) > bounds.recoveryMs) faults.push(`L6: recovered after ${recoveryMs} ms`)
  if ((rssMiB ?? 0) > bounds.rssMiB) faults.push(`L7: a hub used ${rssMiB} MiB`)
  if ((loopLagMs ?? 0) > bounds.loopLagMs) faults.push(`L7: an event loop was ${loopLagMs} ms late`)
  const unseenMs = Math.max(0, ...rig.hubs.map(({ usage }) => usage.unseenMs()))
  if (unseenMs > UNSEEN_MS)
    faults.push(`L7: nobody knows of a hub that was up for ${Math.round(unseenMs)} ms`)
  return { faults, figures }
}

async function judgeScene(scene: FaultScene, bounds: Bounds): Promise<string[]> {
  const { ledger } = scene
  // What never comes is told by the ledger, in its own words.
  await waitUntil('every stream has every SET', ledger.complete, {
    // A little more than recovery may take, so that what is late is not told as lost.
    deadlineMs: bounds.recoveryMs + LATE_MS,
  }).catch(() => {})
  const atMost = REPEATS_FREE + Math.ceil(ledger.acceptedCount() * bounds.repeatsPart)
  return [
    ...ledger.lost(),
    ...ledger.doubled(),
    ...ledger.stale(),
    ...(await unequal(scene)),
    ...ledger.repeated(atMost),
    ...(await storedTwice(scene)),
  ]
}

/** L4. A poller acknowledges with its next poll, and results are written in groups, so it is given a moment. */
async function unequal({ ledger, streamIds, databaseUrl }: FaultScene): Promise<string[]> {
  let faults: string[] = []
  const end = performance.now() + NOTED_MS
  do {
    const outcomes = await outcomesByStream(databaseUrl)
    faults = ledger
      .streams()
      .flatMap((stream) => ledger.unequal(stream, outcomes.get(streamIds.get(stream) ?? '') ?? []))
    if (faults.length > 0) await delay(LOOK_MS)
  } while (faults.length > 0 && performance.now() < end)
  return faults.length > 5 ? [...faults.slice(0, 5), `L4: and ${faults.length - 5} more`] : faults
}

async function outcomesByStream(databaseUrl: string): Promise<Map<string, Outcome[]>> {
  const rows = await ask<Outcome & { stream_id: string }>(
    databaseUrl,
    'select stream_id, txn, outcome from deliveries',
  )
  const byStream = new Map<string, Outcome[]>()
  for (const { stream_id, txn, outcome } of rows) {
    const known = byStream.get(stream_id)
    if (known) known.push({ txn, outcome })
    else byStream.set(stream_id, [{ txn, outcome }])
  }
  return byStream
}

/** L2, seen from inside: a SET that was pushed twice is one event. */
async function storedTwice({ databaseUrl }: FaultScene): Promise<string[]> {
  const rows = await ask<{ txn: string; count: string }>(
    databaseUrl,
    'select txn, count(*) from events group by source_id, source_jti, txn having count(*) > 1 limit 3',
  )
  return rows.map(({ txn, count }) => `L2: ${txn} is stored as ${count} events`)
}

function figuresOf(rig: FaultRig): Figures {
  const window = rig.window()
  const ledgers = rig.scenes.map(({ ledger }) => ledger)
  const times = window ? ledgers.flatMap((ledger) => ledger.timesToRevoke(window)).sort((a, b) => a - b) : []
  const at = (part: number) =>
    times.length === 0 ? undefined : Math.round(times[Math.ceil(times.length * part) - 1] as number)
  const sum = (values: number[]) => values.reduce((total, value) => total + value, 0)
  return {
    accepted: sum(ledgers.map((ledger) => ledger.acceptedCount())),
    lost: sum(ledgers.flatMap((ledger) => ledger.streams().map((stream) => ledger.missing(stream).length))),
    repeats: sum(ledgers.flatMap((ledger) => ledger.streams().map((stream) => ledger.duplicates(stream)))),
    p50Ms: at(0.5),
    p99Ms: at(0.99),
    maxMs: at(1),
    recoveryMs:
      window && ledgers.length > 0
        ? Math.round(Math.max(...ledgers.map((ledger) => ledger.recoveryMs(window.toMs))))
        : undefined,
    rssMiB: mostOf(rig.hubs.map(({ usage }) => usage.rssMiB())),
    loopLagMs: mostOf(rig.hubs.map(({ usage }) => usage.loopLagMs())),
  }
}

function mostOf(values: readonly (number | undefined)[]): number | undefined {
  const known = values.filter((value) => value !== undefined)
  return known.length === 0 ? undefined : Math.max(...known)
}
