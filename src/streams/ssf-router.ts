import { type Request, type RequestHandler, type Response, Router } from 'express'
import { type ReceiverAuth, receiverOf, requireReceiver } from '../auth/callers.js'
import { jsonBody } from '../http/body.js'
import { MethodNotAllowed } from '../kernel/errors.js'
import { parseSubject } from '../secevent/subject.js'
import { type MetadataRouterOptions, metadataRouter, pathsBelow } from './metadata-router.js'
import type { StreamSettings } from './stream.js'
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

export interface SsfRouterOptions extends Pick<MetadataRouterOptions, 'jwks' | 'jwksMaxAgeS'> {
  settings: Pick<StreamSettings, 'issuer' | 'defaultSubjects'>
  receivers: ReceiverAuth
  streams: StreamService
  statuses: StreamStatusService
  subjects: SubjectService
  verifications: VerificationService
}

/**
 * The SSF Transmitter face (SSF 1.0 §7, §8). To be mounted at the root: it knows the issuer's path, and answers without
 * it too, for a proxy that takes it off and for the hub's own command. Every route asks who calls, then what is said, and only then whether the stream is there (T-45); the app's shell says no-store.
 */
export function ssfRouter(options: SsfRouterOptions): Router {
  const guards: Guards = {
    read: requireReceiver(options.receivers, 'ssf.read'),
    manage: requireReceiver(options.receivers, 'ssf.manage'),
  }
  const ssf = Router()
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

/** SSF 1.0 §8.1.1. */
function configurationRouter(streams: StreamService, { read, manage }: Guards): Router {
  return Router()
    .post('/', manage, jsonBody(), async (req, res) => {
      res.status(201).json(await streams.create(receiverIdOf(res), parseCreate(sentBody(req))))
    })
    .get('/', read, async (req, res) => {
      const streamId = optionalStreamId(req)
      if (streamId === undefined) res.json(await streams.list(receiverIdOf(res)))
      else res.json(await streams.read(receiverIdOf(res), knownForm(streamId)))
    })
    .patch('/', manage, jsonBody(), async (req, res) => {
      const { streamId, edit } = parseEdit(req.body)
      res.json(await streams.update(receiverIdOf(res), knownForm(streamId), edit))
    })
    .put('/', manage, jsonBody(), async (req, res) => {
      const { streamId, edit } = parseEdit(req.body)
      res.json(await streams.replace(receiverIdOf(res), knownForm(streamId), edit))
    })
    .delete('/', manage, async (req, res) => {
      const stopped = await streams.delete(receiverIdOf(res), knownForm(requiredStreamId(req)))
      res.status(stopped ? 204 : 202).end()
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
      res.status(204).end()
    })
    .all(['/add', '/remove'], refuseMethod('POST'))
}

/** SSF 1.0 §8.1.4.2. */
function verificationRouter(verifications: VerificationService, { manage }: Guards): Router {
  return Router()
    .post('/', manage, jsonBody(), async (req, res) => {
      const { streamId, state } = parseVerification(req.body)
      await verifications.request(receiverIdOf(res), knownForm(streamId), state)
      res.status(204).end()
    })
    .all('/', refuseMethod('POST'))
}

/** The JSON parser reads an empty body as `{}`, and nobody creates a stream by saying nothing. */
function sentBody(req: Request): unknown {
  return req.get('Content-Length') === '0' ? undefined : req.body
}

/** 405 and not 404: a receiver takes it as unsupported, not as a stream that is gone. */
function refuseMethod(allowed: string): RequestHandler {
  return () => {
    throw new MethodNotAllowed(allowed)
  }
}

function toStatusBody({ streamId, status, reason }: StatusView): object {
  return { stream_id: streamId, status, ...(reason !== undefined && { reason }) }
}
