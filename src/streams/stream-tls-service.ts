import type { Clock } from '../kernel/clock.js'
import { Conflict } from '../kernel/errors.js'
import { present } from '../kernel/present.js'
import type { ClientTls } from '../outgoing/client-tls.js'
import { type CertificateFacts, describeCertificates, readTlsMaterial } from '../outgoing/tls-material.js'
import type { Database } from '../storage/database.js'
import { type Stream, tlsKeyContext } from './stream.js'
import type { AuditTrail, StreamKeys, StreamObserver } from './stream-collaborators.js'
import { StreamNotFound, StreamTlsNotFound } from './stream-errors.js'
import { createStreamRepository } from './stream-repository.js'
import { createStreamTlsRepository, type StreamTlsRecord } from './stream-tls-repository.js'

export interface StreamTlsServiceOptions {
  readonly db: Database
  readonly keys: Pick<StreamKeys, 'seal'>
  readonly observer: StreamObserver
  readonly audit: AuditTrail
  readonly clock: Pick<Clock, 'now'>
}

/** TLS of one stream as a person sees it: never the key. */
export interface StreamTlsView {
  readonly streamId: string
  /** Scheme, host and port that it is for. */
  readonly origin: string
  /** False while the stream's endpoint is elsewhere, or it polls: then it is not used. */
  readonly inUse: boolean
  /** Empty: the system's authorities are believed. */
  readonly authorities: readonly CertificateFacts[]
  readonly clientCertificate: CertificateFacts | undefined
  readonly updatedAt: Date
}

/** Whom the hub believes, and what it shows, when it pushes to one stream. For operators. */
export interface StreamTlsService {
  /** Throws StreamNotFound, StreamTlsNotFound. */
  read(streamId: string): Promise<StreamTlsView>
  /**
   * In place of what there is. `confirmed` is false when the process that sends has not taken note within 1 s.
   * Throws StreamNotFound; InvalidRequest for texts that cannot be used; Conflict for a stream without an https endpoint.
   */
  set(streamId: string, tls: ClientTls, actor: string): Promise<{ view: StreamTlsView; confirmed: boolean }>
  /** The system's authorities and no certificate from now on. Throws StreamNotFound, StreamTlsNotFound. */
  clear(streamId: string, actor: string): Promise<void>
}

export function createStreamTlsService(options: StreamTlsServiceOptions): StreamTlsService {
  const { db, keys, audit } = options

  return {
    async read(streamId) {
      const stream = await createStreamRepository(db).findAny(streamId)
      if (!stream) throw new StreamNotFound()
      const record = await createStreamTlsRepository(db).find(streamId)
      if (!record) throw new StreamTlsNotFound()
      return toView(record, stream)
    },

    async set(streamId, given, actor) {
      const { ca, certificate, key } = readTlsMaterial(given, options.clock.now())
      const view = await db.transaction(async (trx) => {
        const streams = createStreamRepository(trx)
        const stream = await streams.lockAny(streamId)
        if (!stream) throw new StreamNotFound()
        const record = await createStreamTlsRepository(trx).put({
          streamId,
          origin: httpsOriginOf(stream),
          ca,
          client:
            certificate === undefined || key === undefined
              ? undefined
              : {
                  certificate,
                  endsAt: (describeCertificates(certificate)[0] as CertificateFacts).notAfter,
                  keySealed: keys.seal(key, tlsKeyContext(streamId)),
                },
        })
        await streams.raiseVersion(streamId)
        const set = toView(record, stream)
        const target = `stream:${streamId}`
        await audit.record(trx, { actor, action: 'stream.tls_set', target, detail: auditDetail(set) })
        return set
      })
      return { view, confirmed: await options.observer.streamChanged(streamId) }
    },

    async clear(streamId, actor) {
      await db.transaction(async (trx) => {
        const streams = createStreamRepository(trx)
        if (!(await streams.lockAny(streamId))) throw new StreamNotFound()
        if (!(await createStreamTlsRepository(trx).delete(streamId))) throw new StreamTlsNotFound()
        await streams.raiseVersion(streamId)
        await audit.record(trx, { actor, action: 'stream.tls_cleared', target: `stream:${streamId}` })
      })
      await options.observer.streamChanged(streamId)
    },
  }
}

/** @throws Conflict */
function httpsOriginOf({ deliveryMethod, endpointUrl }: Stream): string {
  if (deliveryMethod !== 'push' || endpointUrl === undefined) {
    throw new Conflict(
      'This stream is polled: its receiver connects to the hub, and nothing here is used. Set TLS on push streams.',
    )
  }
  const url = new URL(endpointUrl)
  if (url.protocol !== 'https:') {
    throw new Conflict(
      'The endpoint_url of this stream is plain http, without TLS. Have the receiver change it to https first.',
    )
  }
  return url.origin
}

function toView(record: StreamTlsRecord, { deliveryMethod, endpointUrl }: Stream): StreamTlsView {
  const { client } = record
  const isPush = deliveryMethod === 'push' && endpointUrl !== undefined
  return {
    streamId: record.streamId,
    origin: record.origin,
    inUse: isPush && new URL(endpointUrl).origin === record.origin,
    authorities: record.ca === undefined ? [] : describeCertificates(record.ca),
    clientCertificate: client && describeCertificates(client.certificate)[0],
    updatedAt: record.updatedAt,
  }
}

function auditDetail({ origin, authorities, clientCertificate }: StreamTlsView): object {
  return present({
    origin,
    ca: authorities.length > 0 ? authorities.map(({ fingerprint }) => fingerprint) : undefined,
    client_certificate: clientCertificate?.fingerprint,
  })
}
