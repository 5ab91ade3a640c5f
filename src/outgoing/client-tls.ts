import { createHash } from 'node:crypto'
import { createSecureContext, type SecureContext } from 'node:tls'

/** Whom to believe at one endpoint, and what to show it. PEM texts; at least one authority or the pair. */
export interface ClientTls {
  /** These alone are believed; undefined: the system's authorities. */
  readonly ca?: string | undefined
  /** The client certificate, and the chain to its authority after it. */
  readonly certificate?: string | undefined
  /** Of the first certificate. */
  readonly key?: string | undefined
}

/** TLS 1.0 and 1.1 are not to be used any more (RFC 8996). */
export const MIN_TLS_VERSION = 'TLSv1.2'

/** @throws Error for what OpenSSL does not take */
export function toSecureContext({ ca, certificate, key }: ClientTls): SecureContext {
  return createSecureContext({
    minVersion: MIN_TLS_VERSION,
    // What is listed is believed, a root or not: an authority that a company was lent has its root elsewhere.
    ...(ca ? { ca, allowPartialTrustChain: true } : {}),
    ...(certificate ? { cert: certificate, key } : {}),
  })
}

const known = new WeakMap<ClientTls, string>()

/** The same for equal settings, and not to be told back. Reckoned once per object. */
export function tlsIdOf(tls: ClientTls): string {
  let id = known.get(tls)
  if (!id) {
    const text = JSON.stringify([tls.ca, tls.certificate, tls.key].map((part) => part ?? null))
    id = createHash('sha256').update(text).digest('base64')
    known.set(tls, id)
  }
  return id
}
