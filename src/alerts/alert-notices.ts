import type { Logger } from '../kernel/logger.js'
import type { CounterMetric } from '../kernel/metrics.js'
import { createPeriodicWorker, type PeriodicWorker } from '../kernel/periodic-worker.js'
import type { Database } from '../storage/database.js'
import { alertRepository, type Channel, type Notice } from './alert-repository.js'
import { type Tell, type Told, tellWithin } from './tell.js'

const EVERY_MS = 1_000
/** Told at a time; the next look finds the rest. As many as outgoing has connections: whoever waits for one loses of its time. */
const AT_ONCE = 4
/** Longer than an attempt: whoever dies under way is followed then. */
const CLAIM_MS = 15_000
const FIRST_WAIT_MS = 1_000
const MAX_WAIT_MS = 300_000
const GIVE_UP_AFTER_MS = 7 * 86_400_000

export interface NoticeWorkerOptions {
  readonly db: Database
  readonly channel: Channel
  readonly tell: Tell
  isLeader(): boolean
  /** Labels `channel`, `outcome`. */
  readonly told: CounterMetric
  readonly logger: Pick<Logger, 'info' | 'warn' | 'error'>
  readonly everyMs?: number
  readonly firstWaitMs?: number
}

/** 1 s, 2 s, 4 s … 5 min, some of it by chance; what the other side asks for counts when it is longer. */
function waitAfter(attempts: number, firstWaitMs: number, askedMs = 0): number {
  const steady = Math.min(firstWaitMs * 2 ** Math.min(attempts, 20), MAX_WAIT_MS)
  return Math.max(steady * (0.8 + 0.4 * Math.random()), askedMs)
}

/** Takes notices to one way out until each is taken. Whoever dies between telling and noting it lets it be told again. */
export function createNoticeWorker(options: NoticeWorkerOptions): PeriodicWorker {
  const { db, channel, logger, firstWaitMs = FIRST_WAIT_MS } = options
  const stopping = new AbortController()

  async function giveUp({ seq, noticeId, attempts, failure }: Notice): Promise<void> {
    await alertRepository.removeNotice(db, seq)
    options.told.add({ channel, outcome: 'given_up' })
    logger.error('alert.given_up', { channel, notice_id: noticeId, attempt: attempts, failure })
  }

  async function note(notice: Notice, told: Told): Promise<void> {
    const line = { channel, notice_id: notice.noticeId, attempt: notice.attempts + 1 }
    if (told.ok) {
      await alertRepository.removeNotice(db, notice.seq)
      options.told.add({ channel, outcome: 'delivered' })
      logger.info('alert.told', line)
    } else {
      const waitMs = waitAfter(notice.attempts, firstWaitMs, told.waitMs)
      await alertRepository.postponeNotice(db, notice.seq, { failure: told.failure, waitMs })
      options.told.add({ channel, outcome: 'failed' })
      logger.warn('alert.untold', { ...line, failure: told.failure, wait_ms: Math.round(waitMs) })
    }
  }

  async function tell(notice: Notice): Promise<void> {
    // Also of a way out that was away for so long: nobody is helped by what was wrong a week ago.
    if (notice.ageMs > GIVE_UP_AFTER_MS) return giveUp(notice)
    const told = await tellWithin(
      options.tell,
      { id: notice.noticeId, body: notice.body },
      { signal: stopping.signal },
    )
    // What was cut off by our own end is nobody's failure: the next process tells it.
    if (!told.ok && stopping.signal.aborted) return
    await note(notice, told)
  }

  async function round(): Promise<void> {
    while (options.isLeader() && !stopping.signal.aborted) {
      const due = await alertRepository.claimNotices(db, channel, { limit: AT_ONCE, forMs: CLAIM_MS })
      await Promise.all(due.map(tell))
      if (due.length < AT_ONCE) return
    }
  }

  const worker = createPeriodicWorker({
    name: `alerts to the ${channel}`,
    everyMs: options.everyMs ?? EVERY_MS,
    round,
    failed: { event: 'alert.notices_failed', says: `alerts do not reach the ${channel}` },
    logger,
  })
  return {
    ...worker,
    async stop() {
      stopping.abort()
      await worker.stop()
    },
  }
}
