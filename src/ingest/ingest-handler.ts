import type { IncomingMessage, ServerResponse } from 'node:http'
import { hashSecret, isSameHash } from '../auth/secrets.js'
import { networkOf } from '../http/client-address.js'
import { isUuid } from '../http/params.js'
import type { Clock } from '../kernel/clock.js'
import { describeError, HubError, MethodNotAllowed, NotFound, Unavailable } from '../kernel/errors.js'
import type { Logger } from '../kernel/logger.js'
import type { Metrics } from '../kernel/metrics.js'
import { SetRejected } from '../secevent/parse-set.js'
import { type Admission, type AdmissionLimits, createAdmission } from './admission.js'
import { SenderNotAuthenticated, sendAccepted, sendFailure } from './ingest-answers.js'
import { readSetBody, SenderGone } from './set-body.js'
import type { IngestedSet, SetIngest } from './set-ingest.js'
import type { Transmitter } from './transmitter.js'

export interface IngestHandlerOptions {
  registry: { find(id: string): Promise<Transmitter | undefined> }
  ingest: SetIngest
  clock: Pick<Clock, 'monotonicMs'>
  logger: Logger
  metrics: Metrics
  limits?: AdmissionLimits
  /** How long a body may take to begin with. Default 2 s. */
  bodyTimeMs?: number
  /** Who sends a request. Default: the peer of the socket. */
  addressOf?: (req: IncomingMessage) => string
  /** The issuer's path, such as `/t1`: the endpoint stands below it too. */
  issuerPath?: string
}

const PREFIX = '/ingest/'

/**
 * `POST /ingest/{transmitter_id}` (RFC 8935), ahead of express: its share of the cost was as large as the rest.
 * @returns whether the request was for this handler; it then answers by itself
 */
export function createIngestHandler(
  options: IngestHandlerOptions,
): (req: IncomingMessage, res: ServerResponse) => boolean {
  const admission = createAdmission(options)
  const observe = createObserver(options)
  const prefixes = [PREFIX, ...(options.issuerPath ? [options.issuerPath + PREFIX] : [])]

  return (req, res) => {
    const path = pathOf(req)
    const prefix = prefixes.find((candidate) => path.startsWith(candidate))
    if (prefix === undefined) return false
    const id = path.slice(prefix.length)
    const about: About = { id, beganMs: options.clock.monotonicMs() }
    receive(req, id, { ...options, admission })
      .then(
        (ingested) => {
          observe.accepted(about, ingested)
          sendAccepted(res)
        },
        (error: unknown) => {
          if (error instanceof SenderGone) return
          observe.failed(about, error)
          sendFailure(
            res,
            error instanceof HubError ? error : new InternalFailure('The hub failed to handle this request.'),
          )
        },
      )
      .catch((error: unknown) => {
        options.logger.error('ingest.failed', { transmitter_id: id, error: describeError(error) })
        res.destroy()
      })
    return true
  }
}

/** Nothing a sender can mend; the log has the reason. */
class InternalFailure extends HubError {
  readonly code = 'ERR_INTERNAL'
  readonly status = 500
}

async function receive(
  req: IncomingMessage,
  id: string,
  options: IngestHandlerOptions & { admission: Admission },
): Promise<IngestedSet> {
  const transmitter = isUuid(id) ? await options.registry.find(id) : undefined
  if (!transmitter?.enabled)
    throw new NotFound('There is no transmitter at this address; check the ingest URL.')
  checkAuthorization(req, transmitter)
  if (req.method !== 'POST') throw new MethodNotAllowed('POST')
  return await admitted(req, transmitter, options)
}

/** Reads and verifies in a place of the sender's network, then goes on in a place of the source. */
async function admitted(
  req: IncomingMessage,
  transmitter: Transmitter,
  { admission, ingest, clock, addressOf, bodyTimeMs }: IngestHandlerOptions & { admission: Admission },
): Promise<IngestedSet> {
  let cut = () => {}
  const network = networkOf(addressOf?.(req) ?? req.socket.remoteAddress ?? '')
  const place = admission.admit(network, () => cut())
  if (!place) throw atLimit()
  try {
    const body = await readSetBody(req, {
      hold: place.hold,
      whenCut(listener) {
        cut = listener
      },
      clock,
      timeMs: bodyTimeMs,
    })
    place.complete()
    return await ingest(transmitter, body, () => {
      place.leave()
      const leave = admission.enter(transmitter.id)
      if (!leave) throw atLimit()
      return leave
    })
  } finally {
    place.leave()
  }
}

function atLimit(): Unavailable {
  return new Unavailable('The hub is at its limit; send the SET again shortly.', { retryAfterS: 1 })
}

/** Hashes are compared, so the time taken tells nothing about the header that was expected. */
function checkAuthorization(req: IncomingMessage, { authorizationHash }: Transmitter): void {
  if (!authorizationHash) return
  const given = req.headers.authorization
  if (given !== undefined && isSameHash(hashSecret(given), authorizationHash)) return
  throw new SenderNotAuthenticated('Send the Authorization header that this transmitter was registered with.')
}

function pathOf(req: IncomingMessage): string {
  const url = req.url ?? ''
  const query = url.indexOf('?')
  return query < 0 ? url : url.slice(0, query)
}

interface About {
  id: string
  beganMs: number
}

/** One wide line and one count per SET; never its content. */
function createObserver({ clock, logger, metrics }: IngestHandlerOptions) {
  const sets = metrics.counter('firebreak_sets_total', 'SETs pushed to the hub, by outcome and reason.', [
    'outcome',
    'reason',
  ])
  const tolerated = metrics.counter(
    'firebreak_sets_tolerated_total',
    'SETs that needed a tolerance of their transmitter.',
    ['tolerance'],
  )
  const seconds = metrics.histogram(
    'firebreak_ingest_seconds',
    'From the first header of a push to its answer.',
    ['outcome'],
  )
  const tookMs = (about: About) => clock.monotonicMs() - about.beganMs

  return {
    accepted(about: About, { event, verified, overBudget }: IngestedSet) {
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
    failed(about: About, error: unknown) {
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
