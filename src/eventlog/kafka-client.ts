import { connect, isIP, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { Kafka, type KafkaConfig, logLevel, type SASLOptions } from 'kafkajs'
import { describeError, type HubError, StartupError } from '../kernel/errors.js'
import type { Logger } from '../kernel/logger.js'
import { LogUnavailable } from './event-log.js'

export interface KafkaConnection {
  /** `host:port`, at least one. */
  brokers: string[]
  /** True for TLS with the system's authorities. PEM texts otherwise. */
  ssl?: boolean | { ca?: string; cert?: string; key?: string; rejectUnauthorized?: boolean }
  sasl?: { mechanism: 'plain' | 'scram-sha-256' | 'scram-sha-512'; username: string; password: string }
  logger: Logger
}

export interface KafkaClient {
  readonly kafka: Kafka
  /**
   * Breaks every connection now and opens no other: the only sure way to be rid of a kafkajs client, whose own
   * disconnect waits for answers that may never come.
   */
  destroy(): void
}

const CONNECT_TIMEOUT_MS = 2_000
const KEEP_ALIVE_MS = 30_000

export function createKafkaClient(
  connection: KafkaConnection,
  options: { clientId: string; requestTimeoutMs: number },
): KafkaClient {
  const sockets = new Set<Socket>()
  let destroyed = false
  const { ssl } = connection

  const socketFactory: NonNullable<KafkaConfig['socketFactory']> = ({ host, port, ssl: tls, onConnect }) => {
    if (destroyed) throw new Error('this Kafka client was discarded')
    const socket = tls
      ? connectTls({ host, port, ...(isIP(host) ? {} : { servername: host }), ...tls }, onConnect)
      : connect({ host, port }, onConnect)
    socket.setKeepAlive(true, KEEP_ALIVE_MS)
    socket.setNoDelay(true)
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
    return socket
  }

  const kafka = new Kafka({
    brokers: connection.brokers,
    clientId: options.clientId,
    connectionTimeout: CONNECT_TIMEOUT_MS,
    authenticationTimeout: CONNECT_TIMEOUT_MS,
    requestTimeout: options.requestTimeoutMs,
    socketFactory,
    // Retries are ours. Inside kafkajs a retried send can resolve without some partition having been sent: it
    // remembers answers by broker, and a partition may have moved to a broker that has answered already.
    retry: { retries: 0, initialRetryTime: 100, restartOnFailure: async () => false },
    logLevel: logLevel.WARN,
    logCreator:
      () =>
      ({ namespace, log }) =>
        connection.logger.debug('kafka_client.said', {
          namespace,
          text: log.message,
          client_id: options.clientId,
        }),
    ...(ssl === undefined ? {} : { ssl: toTlsOptions(ssl) }),
    ...(connection.sasl === undefined ? {} : { sasl: connection.sasl as SASLOptions }),
  })
  return {
    kafka,
    destroy() {
      destroyed = true
      for (const socket of sockets) socket.destroy(new Error('this Kafka client was discarded'))
    },
  }
}

function toTlsOptions(ssl: NonNullable<KafkaConnection['ssl']>): NonNullable<KafkaConfig['ssl']> {
  if (typeof ssl === 'boolean') return ssl
  const { ca, ...rest } = ssl
  return { ...rest, ...(ca === undefined ? {} : { ca: [ca] }) }
}

/** Rejects with LogUnavailable when the work takes longer; what the work does then is nobody's concern. */
export async function withDeadline<T>(work: Promise<T>, timeoutMs: number, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new LogUnavailable(`Kafka did not answer in ${timeoutMs} ms; try again.`, { detail: what }))
    }, timeoutMs)
  })
  work.catch(() => {})
  try {
    return await Promise.race([work, late])
  } finally {
    clearTimeout(timer)
  }
}

interface KafkaErrorFacts {
  names: string[]
  /** Kafka's own error names, such as TOPIC_AUTHORIZATION_FAILED, and Node's, such as ECONNREFUSED. */
  types: string[]
}

/** Looks through kafkajs's wrappers, aggregates and causes. */
export function kafkaErrorFacts(error: unknown, depth = 0): KafkaErrorFacts {
  if (typeof error !== 'object' || error === null || depth > 6) return { names: [], types: [] }
  const { name, type, code, cause, originalError, errors } = error as Record<string, unknown>
  const facts: KafkaErrorFacts = {
    names: typeof name === 'string' ? [name] : [],
    types: [type, code].filter((value): value is string => typeof value === 'string'),
  }
  for (const inner of [cause, originalError, ...(Array.isArray(errors) ? errors : [])]) {
    const found = kafkaErrorFacts(inner, depth + 1)
    facts.names.push(...found.names)
    facts.types.push(...found.types)
  }
  return facts
}

const TLS_CODE = /^(ERR_(SSL|TLS|OSSL)_|CERT_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_|HOSTNAME_MISMATCH|EPROTO)/

/** What went wrong, told to the person who can change it; anything that may pass by itself is LogUnavailable. */
export function explainKafkaError(error: unknown, brokers: readonly string[]): HubError {
  if (error instanceof LogUnavailable || error instanceof StartupError) return error
  const { names, types } = kafkaErrorFacts(error)
  const detail = describeError(error)
  const at = brokers.join(', ')
  if (names.includes('KafkaJSSASLAuthenticationError') || types.includes('SASL_AUTHENTICATION_FAILED')) {
    return new StartupError(`Kafka at ${at} refused the user name or password: check KAFKA_SASL_*.`, {
      detail,
    })
  }
  const tls = types.find((type) => TLS_CODE.test(type))
  if (tls) {
    const message = `No TLS connection to Kafka at ${at} (${tls}): check KAFKA_SSL_* and the listener's port.`
    return new StartupError(message, { detail })
  }
  const denied = types.find((type) => type.endsWith('_AUTHORIZATION_FAILED'))
  if (denied) {
    const message = `Kafka at ${at} does not allow this (${denied}): grant Create, Describe, Read and Write on the topics and Read on the groups, see docs/kafka.md.`
    return new StartupError(message, { detail })
  }
  return new LogUnavailable(`Kafka at ${at} does not answer as it should; try again.`, {
    detail,
    cause: error,
  })
}
