import type { Detour } from '../eventlog/failover-event-log.js'
import type { Clock } from '../kernel/clock.js'
import { type Condition, spell } from './alert.js'

/** Kafka does not answer this process. */
export function createFallbackCondition(options: {
  detour(): Detour | undefined
  clock: Pick<Clock, 'monotonicMs'>
  afterMs: number
}): () => Condition | undefined {
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
}): () => Condition | undefined {
  const { clock, host } = options
  return () => {
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

/** An issuer whose keys this process needs and cannot fetch: room ingest. */
export interface MissingKeys {
  readonly id: string
  readonly name: string | undefined
  readonly sinceMonotonicMs: number
  readonly lastForMs: number | undefined
}

/** Keys that are known count on; what is signed by others waits. */
export function createKeysCondition(options: {
  failing(): readonly MissingKeys[]
  clock: Pick<Clock, 'monotonicMs'>
  afterMs: number
}): () => Condition[] {
  return () => {
    const nowMs = options.clock.monotonicMs()
    return options
      .failing()
      .filter(({ sinceMonotonicMs }) => nowMs - sinceMonotonicMs >= options.afterMs)
      .map(({ id, name, sinceMonotonicMs, lastForMs }) => {
        const forS = (nowMs - sinceMonotonicMs) / 1000
        const rest =
          lastForMs === undefined
            ? 'none is known: what it signs waits'
            : `those that are known count for ${spell(lastForMs / 1000)} more`
        return {
          kind: 'keys_unavailable',
          object: name === undefined ? `issuer:${id}` : `source:${id}`,
          summary: `The keys of ${name ?? id} cannot be fetched for ${spell(forS)}; ${rest}.`,
          detail: {
            ...(name === undefined ? { issuer: id } : { source_id: id, source: name }),
            for_s: Math.round(forS),
            last_for_s: lastForMs === undefined ? null : Math.round(lastForMs / 1000),
          },
        }
      })
  }
}
