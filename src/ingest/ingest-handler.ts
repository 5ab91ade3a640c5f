import type { IncomingMessage, ServerResponse } from 'node:http'
import { hashSecret, isSameHash } from '../auth/secrets.js'
import { networkOf } from '../http/client-address.js'
import { isUuid } from '../http/params.js'
import type { Clock } from '../kernel/clock.js'
import { describeError, HubError, MethodNotAllowed, NotFound, Unavailable } from '../kernel/errors.js'
import type { Logger } from '../kernel/logger.js'
import type { Metrics } from '../kernel/metrics.js'
import { type Admission, type AdmissionLimits, createAdmission } from './admission.js'
import { SenderNotAuthenticated, sendAccepted, sendFailure } from './ingest-answers.js'
import { readSetBody, SenderGone } from './set-body.js'
import type { IngestedSet, SetIngest } from './set-ingest.js'
import { createSetObserver, type SetObserver } from './set-observer.js'
import type { Transmitter } from './transmitter.js'

export interface IngestHandlerOptions {
  registry: { find(id: string): Promise<Transmitter | undefined> }
  ingest: SetIngest
  clock: Pick<Clock, 'monotonicMs'>
  logger: Logger
  metrics: Metrics
  /** Shared with other ways in. Default: one of its own. */
  observe?: SetObserver
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
  const observe = options.observe ?? createSetObserver(options)
  const prefixes = [PREFIX, ...(options.issuerPath ? [options.issuerPath + PREFIX] : [])]

  return (req, res) => {
    const path = pathOf(req)
    const prefix = prefixes.find((candidate) => path.startsWith(candidate))
    if (prefix === undefined) return false
    const id = path.slice(prefix.length)
    const about = { id, beganMs: options.clock.monotonicMs() }
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
            error instanceof HubError && error.status !== 500
              ? error
              : new InternalFailure('The hub failed to handle this request.'),
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
    return await ingest(transmitter, body, (lane) => {
      place.leave()
      const leave = admission.enter(transmitter.id, lane)
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
