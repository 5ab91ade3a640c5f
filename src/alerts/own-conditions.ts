import type { Detour } from '../eventlog/failover-event-log.js'
import type { Clock } from '../kernel/clock.js'
import { type Condition, spell } from './alert.js'
import type { OwnCondition } from './alert-reporter.js'

/** Kafka does not answer this process. */
export function createFallbackCondition(options: {
  detour(): Detour | undefined
  clock: Pick<Clock, 'monotonicMs'>
  afterMs: number
}): OwnCondition {
  return () => {
    const detour = options.detour()
    const lastsMs = detour ? options.clock.monotonicMs() - detour.sinceMonotonicMs : 0
    if (!detour || lastsMs < options.afterMs) return undefined
    return {
      kind: 'broker_fallback',
      object: 'log:kafka',
      summary: `Events go around Kafka, through PostgreSQL, for ${spell(lastsMs / 1000)}.`,
      detail: { for_s: Math.round(lastsMs / 1000), reason: detour.reason },
    }
  }
}

/** The clock of this machine is not the database's. */
export function createClockCondition(options: {
  clock: Pick<Clock, 'now'>
  /** The machine's, ms since the epoch. */
  machineNow(): number
  host: string
  skewMs: number
}): OwnCondition {
  const { clock, host } = options
  return (): Condition | undefined => {
    const aheadMs = options.machineNow() - clock.now()
    if (Math.abs(aheadMs) < options.skewMs) return undefined
    const way = aheadMs > 0 ? 'ahead of' : 'behind'
    return {
      kind: 'clock_skew',
      object: `clock:${host}`,
      summary: `The clock of ${host} is ${spell(Math.abs(aheadMs) / 1000)} ${way} the database's.`,
      detail: { host, ahead_ms: Math.round(aheadMs) },
    }
  }
}
