import type { Logger } from '../kernel/logger.js'
import type { Metrics } from '../kernel/metrics.js'
import { createPeriodicWorker } from '../kernel/periodic-worker.js'
import type { Worker } from '../kernel/worker.js'
import type { Database } from '../storage/database.js'
import { createStreamTlsRepository } from './stream-tls-repository.js'

export interface StreamTlsWatchOptions {
  readonly db: Database
  readonly metrics: Metrics
  readonly logger: Pick<Logger, 'warn'>
  readonly everyMs: number
}

const WARN_S = 14 * 86_400

/** Says in time which client certificates of streams must be replaced. Any process may run it. */
export function createStreamTlsWatch(options: StreamTlsWatchOptions): Worker {
  const ending = options.metrics.gauge(
    'firebreak_stream_client_certificates_ending',
    'Client certificates of push streams that end within 14 days or have ended.',
  )
  const streams = createStreamTlsRepository(options.db)
  let note: string | undefined

  const worker = createPeriodicWorker({
    name: 'stream-tls',
    everyMs: options.everyMs,
    async round() {
      const found = await streams.listEnding(WARN_S)
      ending.set(found.length)
      const [first] = found
      const others = found.length > 1 ? `, and ${found.length - 1} more` : ''
      note = first
        ? `the client certificate for stream ${first.streamId} ends at ${first.endsAt.toISOString()}${others}`
        : undefined
    },
    failed: { event: 'stream_tls.check_failed', says: 'client certificates are not looked at' },
    logger: options.logger,
  })
  return {
    ...worker,
    health() {
      const health = worker.health()
      return health.reason || note === undefined ? health : { ok: true, reason: note }
    },
  }
}
