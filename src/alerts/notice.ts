import { type Alert, renderAlert } from './alert.js'

export type NoticeType = 'alert.opened' | 'alert.resolved'

/** The body of a notice: `type`, `timestamp` and `data`, as Standard Webhooks recommends. */
export function renderNotice(type: NoticeType, alert: Alert, timestamp: string): string {
  return JSON.stringify({ type, timestamp, data: renderAlert(alert) })
}

/** A notice that only shows that the way is open. */
export function renderTestNotice(timestamp: string): string {
  return JSON.stringify({ type: 'alert.test', timestamp, data: { summary: 'a test of the way out' } })
}
