import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto'
import { InvalidRequest } from '../kernel/errors.js'
import { type ClientTls, toSecureContext } from './client-tls.js'

/** What a person sees of a certificate. */
export interface CertificateFacts {
  readonly subject: string
  readonly issuer: string
  readonly notAfter: Date
  /** SHA-256, in hexadecimal with colons. */
  readonly fingerprint: string
}

const MAX_CERTIFICATES = 32
/** An authority's clock may be ahead of the hub's. */
const BEGIN_TOLERANCE_MS = 5 * 60_000
/** RFC 7468 §2; what stands between the blocks is for people. A block holds no five dashes, so each text is read once. */
const BLOCK = /-----BEGIN ([A-Z0-9 ]+)-----[^-]*(?:-(?!----)[^-]*)*-----END \1-----/g
const CLIENT_AUTH = '1.3.6.1.5.5.7.3.2'
const ANY_USAGE = '2.5.29.37.0'

/**
 * Reads PEM texts, makes sure that they can be used together, and answers them without what stands around the blocks.
 * @param nowMs what has ended by then is refused, and what begins more than five minutes later
 * @throws InvalidRequest that names the member and says what to do
 */
export function readTlsMaterial(given: ClientTls, nowMs: number): ClientTls {
  const authorities = given.ca === undefined ? undefined : readCertificates('ca', given.ca)
  if (authorities?.every((authority) => endOf(authority) < nowMs)) {
    throw new InvalidRequest('ca: every certificate in it has ended; give one that is in force.')
  }
  if (authorities?.every((authority) => endOf(authority) < nowMs || isAhead(authority, nowMs))) {
    throw new InvalidRequest('ca: no certificate in it is in force yet; add one that is.')
  }
  const pair = readPair(given, nowMs)
  if (!authorities && !pair) {
    throw new InvalidRequest('Give ca, or certificate and private_key, or all three.')
  }
  const tls = { ...(authorities ? { ca: toPem(authorities) } : {}), ...pair }
  try {
    toSecureContext(tls)
  } catch (cause) {
    throw new InvalidRequest(
      `OpenSSL does not take these certificates and key (${(cause as Error).message}); make them anew, with RSA of 2048 bits or more, or EC on P-256.`,
      { cause },
    )
  }
  return tls
}

/** Of each certificate in a PEM text, in its order. */
export function describeCertificates(pem: string): CertificateFacts[] {
  return readCertificates('certificate', pem).map((certificate) => ({
    subject: inOneLine(certificate.subject),
    issuer: inOneLine(certificate.issuer),
    notAfter: new Date(endOf(certificate)),
    fingerprint: certificate.fingerprint256,
  }))
}

function readPair(given: ClientTls, nowMs: number): Pick<ClientTls, 'certificate' | 'key'> | undefined {
  if (given.certificate === undefined && given.key === undefined) return undefined
  if (given.certificate === undefined || given.key === undefined) {
    throw new InvalidRequest('certificate and private_key belong together: give both or neither.')
  }
  const chain = readCertificates('certificate', given.certificate)
  const key = readKey(given.key)
  const own = chain[0] as X509Certificate
  if (!own.checkPrivateKey(key)) {
    throw new InvalidRequest(
      'private_key is not the key of the first certificate in certificate. Give the two that belong together, the client’s own certificate first.',
    )
  }
  if (endOf(own) < nowMs) {
    throw new InvalidRequest(
      `certificate: it ended on ${new Date(endOf(own)).toISOString()}; give one that is in force.`,
    )
  }
  if (isAhead(own, nowMs)) {
    throw new InvalidRequest(
      `certificate: it begins on ${new Date(beginOf(own)).toISOString()}; set it when it is in force, or check the clock of the hub.`,
    )
  }
  // Node calls the extended key usage so; a certificate without it is for any.
  const usages: string[] | undefined = own.keyUsage
  if (usages && !usages.includes(CLIENT_AUTH) && !usages.includes(ANY_USAGE)) {
    throw new InvalidRequest(
      'certificate: it is not for clients (its extended key usage lacks clientAuth); have one issued that is.',
    )
  }
  return { certificate: toPem(chain), key: key.export({ type: 'pkcs8', format: 'pem' }).toString() }
}

function readCertificates(member: 'ca' | 'certificate', text: string): X509Certificate[] {
  const blocks = [...text.matchAll(BLOCK)]
  if (blocks.some(([, label = '']) => label.endsWith('PRIVATE KEY'))) {
    throw new InvalidRequest(
      member === 'ca'
        ? 'ca: there is a private key in it, which nobody but the authority may have; leave it out.'
        : 'certificate: there is a private key in it; give that as private_key.',
    )
  }
  const found = blocks.filter(([, label = '']) => /^(X509 )?CERTIFICATE$/.test(label))
  if (found.length === 0) {
    throw new InvalidRequest(
      `${member}: write PEM, which begins with -----BEGIN CERTIFICATE-----. From DER: openssl x509 -inform der -in file.`,
    )
  }
  if (found.length > MAX_CERTIFICATES) {
    throw new InvalidRequest(`${member}: give ${MAX_CERTIFICATES} certificates at most.`)
  }
  return found.map(([block], index) => {
    try {
      return new X509Certificate(block)
    } catch (cause) {
      throw new InvalidRequest(
        `${member}: certificate ${index + 1} in it cannot be read; export it again, whole.`,
        { cause },
      )
    }
  })
}

/** Nothing of the text stands in an error. */
function readKey(text: string): KeyObject {
  const keys = [...text.matchAll(BLOCK)].filter(([, label = '']) => label.endsWith('PRIVATE KEY'))
  const [[block = '', label = ''] = []] = keys
  if (keys.length === 0) {
    throw new InvalidRequest(
      'private_key: write PEM, which begins with -----BEGIN PRIVATE KEY-----. From DER: openssl pkey -inform der -in file.',
    )
  }
  if (keys.length > 1) throw new InvalidRequest('private_key: give one key, that of the certificate.')
  if (label.startsWith('ENCRYPTED') || /^Proc-Type:.*ENCRYPTED/m.test(block)) {
    throw new InvalidRequest(
      'private_key: it is encrypted, and nobody could give the hub its passphrase. Take it off (openssl pkey -in key.pem); the hub seals what it stores.',
    )
  }
  try {
    return createPrivateKey(block)
  } catch {
    throw new InvalidRequest('private_key: it cannot be read; export it again, whole, as PKCS#8.')
  }
}

const beginOf = (certificate: X509Certificate): number => Date.parse(certificate.validFrom)
const isAhead = (certificate: X509Certificate, nowMs: number): boolean =>
  beginOf(certificate) > nowMs + BEGIN_TOLERANCE_MS
const endOf = (certificate: X509Certificate): number => Date.parse(certificate.validTo)
const toPem = (certificates: readonly X509Certificate[]): string => certificates.join('')
const inOneLine = (name: string | undefined): string => (name ?? '').split('\n').join(', ')
