import { isUuid } from '../http/params.js'
import type { Clock } from '../kernel/clock.js'
import { describeError, HubError } from '../kernel/errors.js'
import type { Logger } from '../kernel/logger.js'
import type { Metrics } from '../kernel/metrics.js'
import { SetRejected } from '../secevent/parse-set.js'
import type { IngestedSet } from './set-ingest.js'

/** Which SET: whose, and since when, in monotonic ms. */
export interface AboutSet {
  readonly id: string
  readonly beganMs: number
}

export interface SetObserver {
  accepted(about: AboutSet, ingested: IngestedSet): void
  failed(about: AboutSet, error: unknown): void
}

export interface SetObserverOptions {
  clock: Pick<Clock, 'monotonicMs'>
  logger: Logger
  metrics: Metrics
}

/** One wide line and one count per SET; never its content. */
export function createSetObserver({ clock, logger, metrics }: SetObserverOptions): SetObserver {
  const sets = metrics.counter(
    'firebreak_sets_total',
    'SETs that came to the hub, pushed or polled, by outcome and reason.',
    ['outcome', 'reason'],
  )
  const tolerated = metrics.counter(
    'firebreak_sets_tolerated_total',
    'SETs that needed a tolerance of their transmitter.',
    ['tolerance'],
  )
  const seconds = metrics.histogram(
    'firebreak_ingest_seconds',
    'From the first header of a push to its answer; of a polled SET, the time to take it.',
    ['outcome'],
  )
  const tookMs = (about: AboutSet) => clock.monotonicMs() - about.beganMs

  return {
    accepted(about: AboutSet, { event, verified, overBudget }: IngestedSet) {
      const durationMs = tookMs(about)
      const outcome = verified.quarantine ? 'quarantined' : 'accepted'
      sets.add({ outcome, reason: verified.quarantine ?? (overBudget ? 'over_budget' : '') })
      seconds.observe(durationMs / 1000, { outcome })
      for (const tolerance of [...verified.tolerated, ...verified.ignoredHeaders])
        tolerated.add({ tolerance })
      const fields = {
        transmitter_id: about.id,
        event_id: event.eventId,
        txn: event.txn,
        jti: event.sourceJti,
        lane: event.lane,
        duration_ms: durationMs,
      }
      if (verified.quarantine) logger.warn('set.quarantined', { ...fields, reason: verified.quarantine })
      else logger.debug('set.accepted', fields)
    },
    failed(about: AboutSet, error: unknown) {
      const durationMs = tookMs(about)
      const reason = reasonOf(error)
      const outcome = reason === 'internal' ? 'failed' : isLater(error) ? 'deferred' : 'rejected'
      sets.add({ outcome, reason })
      seconds.observe(durationMs / 1000, { outcome })
      const known = isUuid(about.id) ? { transmitter_id: about.id } : {}
      const fields = { ...known, reason, duration_ms: durationMs, description: describeError(error) }
      if (outcome === 'failed') logger.error('ingest.failed', fields)
      else logger.info(outcome === 'deferred' ? 'set.deferred' : 'set.rejected', fields)
    },
  }
}

function reasonOf(error: unknown): string {
  if (error instanceof SetRejected) return error.status === 413 ? 'too_large' : error.err
  return error instanceof HubError ? error.code.replace(/^ERR_/, '').toLowerCase() : 'internal'
}

function isLater(error: unknown): boolean {
  return error instanceof HubError && error.retryAfterS !== undefined
}
