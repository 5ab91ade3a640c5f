import type { AuditLog } from '../audit/audit-log.js'
import { type Clock, toTimestamp } from '../kernel/clock.js'
import { Conflict } from '../kernel/errors.js'
import { newId } from '../kernel/ids.js'
import type { Database } from '../storage/database.js'
import type { Alert } from './alert.js'
import { type AlertFilter, alertRepository, type Channel } from './alert-repository.js'
import { renderTestNotice } from './notice.js'
import { type Tell, type Told, tellWithin } from './tell.js'

/** How a test went, by way out; a way that is not configured is absent. */
export interface TestResult {
  readonly noticeId: string
  readonly told: Readonly<Partial<Record<Channel, Told>>>
}

export interface AlertService {
  list(filter: AlertFilter): Promise<Alert[]>
  /** Tells a test by every way out, from this process and once. @throws Conflict when there is none */
  test(actor: string): Promise<TestResult>
}

export function createAlertService(options: {
  db: Database
  audit: AuditLog
  clock: Pick<Clock, 'now'>
  ways: Readonly<Partial<Record<Channel, Tell>>>
}): AlertService {
  const { db, audit, clock, ways } = options
  return {
    list: (filter) => alertRepository.list(db, filter),
    async test(actor) {
      const channels = Object.entries(ways) as [Channel, Tell][]
      if (channels.length === 0) {
        throw new Conflict('Alerts have no way out: set ALERT_WEBHOOK_URL or ALERT_LOG_FILE.')
      }
      const noticeId = `msg_${newId()}`
      await audit.record(db, { actor, action: 'alerts.test', detail: { notice_id: noticeId } })
      const notice = { id: noticeId, body: renderTestNotice(toTimestamp(clock.now())) }
      const told = await Promise.all(
        channels.map(async ([channel, tell]) => [channel, await tellWithin(tell, notice)] as const),
      )
      return { noticeId, told: Object.fromEntries(told) }
    },
  }
}
