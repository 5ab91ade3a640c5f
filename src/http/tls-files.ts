import { createPrivateKey, X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createSecureContext, type SecureContextOptions } from 'node:tls'
import { StartupError } from '../kernel/errors.js'
import type { Logger } from '../kernel/logger.js'
import type { Metrics } from '../kernel/metrics.js'
import { createPeriodicWorker } from '../kernel/periodic-worker.js'
import type { Worker } from '../kernel/worker.js'

/** PEM texts. */
export interface TlsPair {
  cert: string | Buffer
  key: string | Buffer
}

export interface TlsFiles {
  readonly certFile: string
  readonly keyFile: string
}

export interface LoadedTls extends TlsPair {
  /** End of the certificate's validity, ms since the epoch. */
  readonly expiresAtMs: number
}

const EVERY_MS = 5_000
const DAY_MS = 86_400_000
const WARN_MS = 7 * DAY_MS

/** TLS 1.2 only with forward secrecy and authenticated encryption; 1.3 knows nothing else. */
const CIPHERS = [
  'TLS_AES_128_GCM_SHA256',
  'TLS_AES_256_GCM_SHA384',
  'TLS_CHACHA20_POLY1305_SHA256',
  'ECDHE-ECDSA-AES128-GCM-SHA256',
  'ECDHE-RSA-AES128-GCM-SHA256',
  'ECDHE-ECDSA-AES256-GCM-SHA384',
  'ECDHE-RSA-AES256-GCM-SHA384',
  'ECDHE-ECDSA-CHACHA20-POLY1305',
  'ECDHE-RSA-CHACHA20-POLY1305',
].join(':')

/** What every context of the hub is made of, the first one and those of a reload. */
export function tlsContext({ cert, key }: TlsPair): SecureContextOptions {
  return { cert, key, minVersion: 'TLSv1.2', maxVersion: 'TLSv1.3', ciphers: CIPHERS }
}

/**
 * Reads TLS_CERT_FILE and TLS_KEY_FILE, and makes sure that they belong together.
 * @throws StartupError in one line that names the setting
 */
export function readTlsFiles({ certFile, keyFile }: TlsFiles): LoadedTls {
  const [cert, key] = [read('TLS_CERT_FILE', certFile), read('TLS_KEY_FILE', keyFile)]
  try {
    const certificate = new X509Certificate(cert)
    // A context takes an empty key for none at all, and serves nobody.
    if (!certificate.checkPrivateKey(createPrivateKey(key)))
      throw new Error('the key is of another certificate')
    createSecureContext(tlsContext({ cert, key }))
    return { cert, key, expiresAtMs: Date.parse(certificate.validTo) }
  } catch (cause) {
    throw notAPair(cause)
  }
}

/** @returns the error of a certificate and a key that cannot be used together */
export function notAPair(cause: unknown): StartupError {
  return new StartupError(
    'TLS_CERT_FILE and TLS_KEY_FILE are not a PEM certificate and its private key; check both files.',
    { cause, detail: cause instanceof Error ? cause.message : String(cause) },
  )
}

function read(setting: string, file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (cause) {
    throw new StartupError(`${setting}: cannot read ${file}; name a readable PEM file.`, { cause })
  }
}

/**
 * Takes up a replaced certificate without a restart. The files are read again and again and compared by content: so it
 * does not matter whether they are written, moved into place or reached through a link that changes (as in Kubernetes).
 * A pair that cannot be used changes nothing; readiness says so until it can.
 */
export function createTlsWatch(options: {
  files: TlsFiles
  loaded: LoadedTls
  /** For connections from now on; those that are open keep what they began with. */
  apply(pair: TlsPair): void
  metrics: Metrics
  logger: Logger
  /** Default 5 s. */
  everyMs?: number
}): Worker {
  const { files, metrics, logger } = options
  let { loaded } = options
  const expiry = metrics.gauge(
    'firebreak_tls_certificate_expires_timestamp_seconds',
    'When the served certificate ends, in seconds since the epoch',
  )
  expiry.set(loaded.expiresAtMs / 1000)
  const reloads = metrics.counter('firebreak_tls_reloads_total', 'Replaced certificates by result', [
    'result',
  ])

  async function round(): Promise<void> {
    try {
      const next = readTlsFiles(files)
      if (next.cert === loaded.cert && next.key === loaded.key) return
      if (next.expiresAtMs < Date.now())
        throw new StartupError('TLS_CERT_FILE holds a certificate that has ended.')
      options.apply(next)
      loaded = next
    } catch (error) {
      reloads.add({ result: 'failed' })
      throw error
    }
    expiry.set(loaded.expiresAtMs / 1000)
    reloads.add({ result: 'done' })
    logger.info('tls.reloaded', { expires_at: new Date(loaded.expiresAtMs).toISOString() })
  }

  const worker = createPeriodicWorker({
    name: 'tls',
    everyMs: options.everyMs ?? EVERY_MS,
    round,
    failed: { event: 'tls.reload_failed', says: 'the certificate before is still served' },
    logger,
  })
  return {
    ...worker,
    health() {
      const health = worker.health()
      if (health.reason || loaded.expiresAtMs - Date.now() > WARN_MS) return health
      return { ok: true, reason: `the certificate ends at ${new Date(loaded.expiresAtMs).toISOString()}` }
    },
  }
}
