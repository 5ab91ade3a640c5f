import { toTimestamp } from '../kernel/clock.js'
import { describeError } from '../kernel/errors.js'
import { newId } from '../kernel/ids.js'
import type { Logger } from '../kernel/logger.js'
import { createPeriodicWorker, type PeriodicWorker } from '../kernel/periodic-worker.js'
import type { Database } from '../storage/database.js'
import { type Alert, type AlertKind, type Condition, keyOf, type Probe } from './alert.js'
import { alertRepository, type Channel, type NewNotice } from './alert-repository.js'
import { type NoticeType, renderNotice } from './notice.js'

const EVERY_MS = 5_000
/** Three rounds: what flickers stays one alert. */
const CLEAR_AFTER_MS = 15_000
/** When everything fails at once, nobody wants a thousand calls: the rest of a kind is one alert. */
const MAX_OPEN_OF_A_KIND = 100

export interface AlertWatchOptions {
  readonly db: Database
  readonly probes: readonly Probe[]
  /** The ways out that are configured. */
  readonly channels: readonly Channel[]
  /** Whether this process is the one that looks. */
  isLeader(): boolean
  /** Notices were written. */
  onNotices(): void
  readonly logger: Pick<Logger, 'info' | 'warn'>
  readonly everyMs?: number
  readonly clearAfterMs?: number
  readonly maxOpenOfAKind?: number
}

/** Turns conditions into alerts. What the table allows once is told once, even while two processes think they lead. */
export function createAlertWatch(options: AlertWatchOptions): PeriodicWorker {
  const { db, probes, logger, maxOpenOfAKind = MAX_OPEN_OF_A_KIND } = options
  let seenBefore = new Set<string>()

  function forget(): void {
    seenBefore = new Set()
    for (const probe of probes) probe.forget?.()
  }

  async function look(): Promise<{ seen: Condition[]; blind: AlertKind[] }> {
    const looks = await Promise.allSettled(probes.map((probe) => probe.look()))
    const seen = new Map<string, Condition>()
    const blind: AlertKind[] = []
    looks.forEach((result, index) => {
      const kinds = probes[index]?.kinds ?? []
      if (result.status === 'rejected') {
        blind.push(...kinds)
        logger.warn('alert.probe_failed', { kinds, reason: describeError(result.reason) })
      } else for (const condition of result.value) seen.set(keyOf(condition), condition)
    })
    // In one order for all, so that two processes never wait for each other's rows.
    return { seen: [...seen.values()].sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1)), blind }
  }

  async function round(): Promise<void> {
    if (!options.isLeader()) return forget()
    const { seen, blind } = await look()
    // What a process saw before it lost the lease may be over, and told as over.
    if (!options.isLeader()) return forget()
    const { opened, resolved } = await db.transaction(async (trx) => {
      const open = await alertRepository.touch(trx, seen)
      // Twice in a row: what passes within a round is nothing to call anybody for.
      const fresh = seen.filter(
        (condition) => !open.has(keyOf(condition)) && seenBefore.has(keyOf(condition)),
      )
      const { admitted, rest } = admit(fresh, await alertRepository.countOpen(trx), maxOpenOfAKind)
      await alertRepository.touch(trx, rest)
      const changes = {
        opened: await alertRepository.open(trx, [...admitted, ...rest]),
        resolved: await alertRepository.resolveUnseen(trx, {
          forMs: options.clearAfterMs ?? CLEAR_AFTER_MS,
          except: blind,
        }),
      }
      await alertRepository.addNotices(trx, [
        ...noticesOf('alert.opened', changes.opened, options.channels),
        ...noticesOf('alert.resolved', changes.resolved, options.channels),
      ])
      return changes
    })
    seenBefore = new Set(seen.map(keyOf))
    for (const { id, kind, object, summary } of opened) {
      logger.warn('alert.opened', { alert_id: id, kind, object, summary })
    }
    for (const { id, kind, object } of resolved) logger.info('alert.resolved', { alert_id: id, kind, object })
    if (opened.length + resolved.length > 0) options.onNotices()
  }

  return createPeriodicWorker({
    name: 'alert watch',
    everyMs: options.everyMs ?? EVERY_MS,
    round,
    failed: { event: 'alert.watch_failed', says: 'alerts are not watched for' },
    logger,
  })
}

function noticesOf(type: NoticeType, alerts: readonly Alert[], channels: readonly Channel[]): NewNotice[] {
  return alerts.flatMap((alert) => {
    const at = type === 'alert.opened' ? alert.openedAt : (alert.resolvedAt ?? alert.lastSeenAt)
    const body = renderNotice(type, alert, toTimestamp(at.getTime()))
    const noticeId = `msg_${newId()}`
    return channels.map((channel) => ({ channel, noticeId, alertId: alert.id, body }))
  })
}

/** As many of each kind as may be open; `rest` has one condition for all others of a kind. */
function admit(fresh: readonly Condition[], open: ReadonlyMap<AlertKind, number>, most: number) {
  const room = new Map<AlertKind, number>()
  const left = new Map<AlertKind, number>()
  const admitted = fresh.filter(({ kind }) => {
    const free = room.get(kind) ?? most - (open.get(kind) ?? 0)
    room.set(kind, free - 1)
    if (free <= 0) left.set(kind, (left.get(kind) ?? 0) + 1)
    return free > 0
  })
  const rest = [...left].map(
    ([kind, count]): Condition => ({
      kind,
      object: 'others',
      summary: `${count} more of this kind`,
      detail: { count },
    }),
  )
  return { admitted, rest }
}
