import { type Request, type RequestHandler, type Response, Router } from 'express'
import { type ReceiverAuth, receiverOf, requireReceiver } from '../auth/callers.js'
import type { Compatibility } from '../auth/compatibility.js'
import { jsonBody } from '../http/body.js'
import { refuseMethod } from '../http/method-not-allowed.js'
import { isUuid } from '../http/params.js'
import { present } from '../kernel/present.js'
import { parseSubject } from '../secevent/subject.js'
import { readDialect, writeDialect } from './delivery-dialect.js'
import { type MetadataRouterOptions, metadataRouter, pathsBelow } from './metadata-router.js'
import type { StreamConfiguration } from './stream-configuration.js'
import {
  knownForm,
  optionalStreamId,
  parseCreate,
  parseEdit,
  parseStatus,
  parseSubjectChange,
  parseVerification,
  requiredStreamId,
} from './stream-requests.js'
import type { StreamService } from './stream-service.js'
import type { StatusView, StreamStatusService } from './stream-status-service.js'
import type { SubjectService } from './subject-service.js'
import type { VerificationService } from './verification-service.js'

export interface SsfRouterOptions extends MetadataRouterOptions {
  receivers: ReceiverAuth
  streams: StreamService
  statuses: StreamStatusService
  subjects: SubjectService
  verifications: VerificationService
}

/**
 * The SSF Transmitter face (SSF 1.0 §7, §8). To be mounted at the root: it knows the issuer's path, and answers without
 * it too, for a proxy that takes it off and for the hub's own command. Every route asks who calls, then what is said, and
 * only then whether the stream is there (docs/conformance.md T-45); the app's shell says no-store.
 */
export function ssfRouter(options: SsfRouterOptions): Router {
  const guards: Guards = {
    read: requireReceiver(options.receivers, 'ssf.read'),
    manage: requireReceiver(options.receivers, 'ssf.manage'),
  }
  const ssf = Router()
  ssf.use(noteRefusedCalls(options.streams))
  ssf.use('/streams', configurationRouter(options.streams, guards))
  ssf.use('/status', statusRouter(options.statuses, guards))
  ssf.use('/subjects', subjectRouter(options.subjects, guards))
  ssf.use('/verify', verificationRouter(options.verifications, guards))
  const root = Router()
  root.use(metadataRouter(options))
  root.use(pathsBelow(options.settings.issuer, '/ssf'), ssf)
  return root
}

interface Guards {
  read: RequestHandler
  manage: RequestHandler
}

const receiverIdOf = (res: Response): string => receiverOf(res).receiverId
const compatibilityOf = (res: Response): Compatibility => receiverOf(res).compatibility

/** SSF 1.0 §8.1.1. */
function configurationRouter(streams: StreamService, { read, manage }: Guards): Router {
  return Router()
    .post('/', manage, jsonBody(), async (req, res) => {
      const choice = parseCreate(readDialect(sentBody(req), compatibilityOf(res)))
      res.status(201).json(shown(res, await streams.create(receiverIdOf(res), choice)))
    })
    .get('/', read, async (req, res) => {
      const streamId = optionalStreamId(req)
      if (streamId === undefined) {
        const all = await streams.list(receiverIdOf(res))
        res.json(all.map((stream) => shown(res, stream)))
      } else res.json(shown(res, await streams.read(receiverIdOf(res), knownForm(streamId))))
    })
    .patch('/', manage, jsonBody(), async (req, res) => {
      const { streamId, edit } = parseEdit(readDialect(req.body, compatibilityOf(res)))
      res.json(shown(res, await streams.update(receiverIdOf(res), knownForm(streamId), edit)))
    })
    .put('/', manage, jsonBody(), async (req, res) => {
      const { streamId, edit } = parseEdit(readDialect(req.body, compatibilityOf(res)))
      res.json(shown(res, await streams.replace(receiverIdOf(res), knownForm(streamId), edit)))
    })
    .delete('/', manage, async (req, res) => {
      const stopped = await streams.delete(receiverIdOf(res), knownForm(requiredStreamId(req)))
      if (stopped) answerNothing(res)
      else res.status(202).end()
    })
    .all('/', refuseMethod('GET, POST, PATCH, PUT, DELETE'))
}

/** SSF 1.0 §8.1.2. */
function statusRouter(statuses: StreamStatusService, { read, manage }: Guards): Router {
  return Router()
    .get('/', read, async (req, res) => {
      res.json(toStatusBody(await statuses.read(receiverIdOf(res), knownForm(requiredStreamId(req)))))
    })
    .post('/', manage, jsonBody(), async (req, res) => {
      const { streamId, ...wish } = parseStatus(req.body)
      const result = await statuses.setStatus(receiverIdOf(res), knownForm(streamId), wish)
      res.status(result.confirmed ? 200 : 202).json(toStatusBody(result))
    })
    .all('/', refuseMethod('GET, POST'))
}

/** SSF 1.0 §8.1.3. */
function subjectRouter(subjects: SubjectService, { manage }: Guards): Router {
  return Router()
    .post('/add', manage, jsonBody(), async (req, res) => {
      const { streamId, subject, verified } = parseSubjectChange(req.body)
      const parsed = parseSubject(subject)
      await subjects.add(receiverIdOf(res), knownForm(streamId), parsed, verified)
      res.status(200).end()
    })
    .post('/remove', manage, jsonBody(), async (req, res) => {
      const { streamId, subject } = parseSubjectChange(req.body)
      const parsed = parseSubject(subject)
      await subjects.remove(receiverIdOf(res), knownForm(streamId), parsed)
      answerNothing(res)
    })
    .all(['/add', '/remove'], refuseMethod('POST'))
}

/** SSF 1.0 §8.1.4.2. */
function verificationRouter(verifications: VerificationService, { manage }: Guards): Router {
  return Router()
    .post('/', manage, jsonBody(), async (req, res) => {
      const { streamId, state } = parseVerification(req.body)
      await verifications.request(receiverIdOf(res), knownForm(streamId), state)
      answerNothing(res)
    })
    .all('/', refuseMethod('POST'))
}

/**
 * Calls that are carried out restart the inactivity timer themselves; this is for the others. After the answer, so that
 * nobody waits for it or learns by it whether the stream is there.
 */
function noteRefusedCalls(streams: Pick<StreamService, 'noteActivity'>): RequestHandler {
  return (req, res, next) => {
    res.once('finish', () => {
      const { receiver } = res.locals as { receiver?: { receiverId: string } }
      if (res.statusCode < 400 || !receiver) return
      const { stream_id: streamId = req.query.stream_id } = (req.body ?? {}) as { stream_id?: unknown }
      // A timer that is not restarted now is restarted by the next call.
      if (isUuid(streamId)) streams.noteActivity(receiver.receiverId, streamId).catch(() => {})
    })
    next()
  }
}

/** A configuration in the words that this receiver's client knows. */
function shown(res: Response, configuration: StreamConfiguration): object {
  return writeDialect(configuration, compatibilityOf(res))
}

/** 204, or for clients that only know 200 the emptiest JSON: they parse every 200. */
function answerNothing(res: Response): void {
  if (compatibilityOf(res).includes('answer_200_for_204')) res.status(200).json({})
  else res.status(204).end()
}

/** The JSON parser reads an empty body as `{}`, and nobody creates a stream by saying nothing. */
function sentBody(req: Request): unknown {
  return req.get('Content-Length') === '0' ? undefined : req.body
}

function toStatusBody({ streamId, status, reason }: StatusView): object {
  return present({ stream_id: streamId, status, reason })
}
