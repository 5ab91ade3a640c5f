import { Router } from 'express'
import { actorOf, type OperatorAuth, requireOperator } from '../auth/callers.js'
import { jsonBody } from '../http/body.js'
import { uuidParam } from '../http/params.js'
import { parseBody } from '../http/validate.js'
import type { CertificateFacts } from '../outgoing/tls-material.js'
import type { StreamTlsService, StreamTlsView } from './stream-tls-service.js'

const PEM = { type: 'string', minLength: 1, maxLength: 65_536 } as const

export const STREAM_TLS = {
  type: 'object',
  additionalProperties: false,
  minProperties: 1,
  properties: {
    ca: { ...PEM, description: 'PEM. These authorities alone are believed; absent: those of the system.' },
    certificate: { ...PEM, description: 'PEM. The client certificate, and its chain after it.' },
    private_key: { ...PEM, maxLength: 16_384, description: 'PEM, not encrypted. Sealed, never shown.' },
  },
} as const

/** TLS of one stream each, to be mounted at `/v1/streams` beside `streamOperatorRouter`. */
export function streamTlsRouter(options: { operators: OperatorAuth; tls: StreamTlsService }): Router {
  const { tls } = options
  const read = requireOperator(options.operators, 'read')
  const manage = requireOperator(options.operators, 'streams.manage')

  return Router()
    .get('/:id/tls', read, async (req, res) => {
      res.json(toBody(await tls.read(uuidParam(req, 'id', 'stream'))))
    })
    .put('/:id/tls', manage, jsonBody('256kb'), async (req, res) => {
      const body = parseBody<{ ca?: string; certificate?: string; private_key?: string }>(
        STREAM_TLS,
        req.body,
      )
      const { private_key: key, ...rest } = body
      const set = await tls.set(uuidParam(req, 'id', 'stream'), { ...rest, key }, actorOf(res))
      res.status(set.confirmed ? 200 : 202).json(toBody(set.view))
    })
    .delete('/:id/tls', manage, async (req, res) => {
      await tls.clear(uuidParam(req, 'id', 'stream'), actorOf(res))
      res.status(204).end()
    })
}

function toBody(view: StreamTlsView) {
  return {
    stream_id: view.streamId,
    origin: view.origin,
    in_use: view.inUse,
    ca: view.authorities.map(toCertificateBody),
    client_certificate: view.clientCertificate ? toCertificateBody(view.clientCertificate) : null,
    updated_at: view.updatedAt.toISOString(),
  }
}

function toCertificateBody({ subject, issuer, notAfter, fingerprint }: CertificateFacts) {
  return { subject, issuer, not_after: notAfter.toISOString(), fingerprint_sha256: fingerprint }
}
