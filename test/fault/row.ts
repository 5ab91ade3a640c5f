import type { FaultRig } from './rig.js'

/** One fault: what is done, what must hold, and how that is seen. The ledger is checked after each row, whatever it does. */
export interface Row {
  /** As in the report, a letter for the group and a number: `C5`. */
  readonly id: string
  readonly title: string
  readonly expected: string
  /** Breaks something and mends it. Answers what was seen beside the ledger, in one line. Throws when it is not as expected. */
  run(rig: FaultRig): Promise<string>
  readonly bounds?: Partial<Bounds>
  /** Waits most of its time, at full scale for ten minutes. */
  readonly waits?: boolean
  /** Quick enough for `npm test`. */
  readonly quick?: boolean
}

/** Generous on purpose: outcomes are asserted, speed is printed. */
export interface Bounds {
  /** L5: repeats on one stream, as a part of what was accepted, beside `REPEATS_FREE`. */
  readonly repeatsPart: number
  /** L6. */
  readonly recoveryMs: number
  /** L7. */
  readonly rssMiB: number
  readonly loopLagMs: number
}

/** What is sent again when a process dies is what was under way; a small load is mostly under way. */
export const REPEATS_FREE = 40

export const BOUNDS: Bounds = {
  repeatsPart: 0.25,
  recoveryMs: 30_000,
  rssMiB: 512,
  loopLagMs: 2_000,
}

export interface Figures {
  readonly accepted: number
  readonly lost: number
  readonly repeats: number
  /** Time to revoke of what was sent during the fault, ms. Undefined when nothing was. */
  readonly p50Ms: number | undefined
  readonly p99Ms: number | undefined
  readonly maxMs: number | undefined
  readonly recoveryMs: number | undefined
  readonly rssMiB: number | undefined
  readonly loopLagMs: number | undefined
}

export interface RowReport extends Figures {
  readonly id: string
  readonly title: string
  readonly expected: string
  readonly seen: string
  readonly ok: boolean
  /** Not run: this machine lacks what it needs. Then `ok` says nothing. */
  readonly skipped: boolean
  readonly tookMs: number
}
