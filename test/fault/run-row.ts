import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ROOT } from '../support/source-files.js'
import { judge } from './judge.js'
import { createFaultRig, type FaultRig } from './rig.js'
import type { Figures, Row, RowReport } from './row.js'
import { startSampler } from './sampler.js'

/** The row cannot be run on this machine: told, and no failure. */
export class RowSkipped extends Error {}

export interface RunOptions {
  readonly seed: number
  readonly scale: number
  /** Hears of the rig, so that whoever is interrupted can close it. */
  onRig?(rig: FaultRig): void
}

const NO_FIGURES: Figures = {
  accepted: 0,
  lost: 0,
  repeats: 0,
  p50Ms: undefined,
  p99Ms: undefined,
  maxMs: undefined,
  recoveryMs: undefined,
  rssMiB: undefined,
  loopLagMs: undefined,
}

/** Beyond what the row itself waits for at full scale, nothing takes so long. */
const LIMIT_MS = 240_000
const FULL_LIMIT_MS = 900_000

/** Runs one row and judges it. Never rejects: what went wrong is in the report. */
export async function runRow(row: Row, options: RunOptions): Promise<RowReport> {
  const began = performance.now()
  const rig = createFaultRig({ ...options, rowId: row.id })
  options.onRig?.(rig)
  const sampler = startSampler(() => rig.hubs)
  const told = (seen: string, ok: boolean, figures = NO_FIGURES): RowReport => ({
    ...figures,
    id: row.id,
    title: row.title,
    expected: row.expected,
    seen,
    ok,
    skipped: false,
    tookMs: Math.round(performance.now() - began),
  })
  try {
    const seen = await withLimit(row.run(rig), LIMIT_MS + options.scale * FULL_LIMIT_MS)
    const { faults, figures } = await judge(row, rig)
    if (faults.length === 0) return told(seen, true, figures)
    return told(`${faults.join('; ')}${keepLogs(row, rig)}`, false, figures)
  } catch (error) {
    if (error instanceof RowSkipped) return { ...told(error.message, true), skipped: true }
    return told(`${error instanceof Error ? error.message : String(error)}${keepLogs(row, rig)}`, false)
  } finally {
    await sampler.stop()
    await rig.close()
  }
}

/** What the hubs of a failed row wrote, for whoever looks into it. */
function keepLogs(row: Row, { hubs }: FaultRig): string {
  if (hubs.length === 0) return ''
  const folder = join(ROOT, 'dist', 'fault-logs')
  mkdirSync(folder, { recursive: true })
  for (const [index, hub] of hubs.entries())
    writeFileSync(join(folder, `${row.id}-${index + 1}.log`), hub.output())
  return ` (logs: dist/fault-logs/${row.id}-*.log)`
}

async function withLimit<T>(work: Promise<T>, limitMs: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new Error(`the row did not end in ${Math.round(limitMs / 1000)} s`)),
      limitMs,
    )
  })
  try {
    return await Promise.race([work, late])
  } finally {
    clearTimeout(timer)
    work.catch(() => {})
  }
}
