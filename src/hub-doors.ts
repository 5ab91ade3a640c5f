import type { RequestListener } from 'node:http'
import { isIPv6 } from 'node:net'
import type { Config } from './config/config.js'
import { createManagementApp, type Readiness } from './http/management.js'
import { createHttpServer, type HttpServerOptions } from './http/server.js'
import { answerStarting } from './http/starting.js'
import { createTlsWatch, readTlsFiles, type TlsFiles } from './http/tls-files.js'
import type { Logger } from './kernel/logger.js'
import type { Metrics } from './kernel/metrics.js'
import type { Worker } from './kernel/worker.js'

/** The two ports of a hub. */
export interface Doors {
  /** Undefined when this process serves no HTTP but the management port. */
  readonly url: string | undefined
  /** Of `url`. */
  readonly port: number | undefined
  readonly managementUrl: string
  readonly managementPort: number
  /** Takes up a replaced certificate. Not started yet; undefined without TLS of our own. */
  readonly tlsWatch: Worker | undefined
  /** From now on requests reach these; until then they are answered 503. */
  open(routes: { app: RequestListener; first?: HttpServerOptions['first'] }): void
  /** What /health/ready answers from now on; until then that the hub is starting. */
  reportReadiness(readiness: () => Promise<Readiness>): void
  /** Takes no new requests and lets those in flight end. */
  closeHttp(): Promise<void>
  closeManagement(): Promise<void>
}

/**
 * Reads the TLS files and takes both ports, before anything is made or written: so a taken port or a bad file costs
 * nothing, above all not the first admin's token, which is made only once.
 * @throws StartupError that names the setting
 */
export async function openDoors(options: {
  config: Config
  metrics: Metrics
  logger: Logger
}): Promise<Doors> {
  const { config, metrics, logger } = options
  let readiness = async (): Promise<Readiness> => ({ ok: false, reasons: ['The hub is starting.'] })
  let app: RequestListener = answerStarting
  let first: HttpServerOptions['first']

  const servesHttp = config.roles.includes('api') || config.roles.includes('ingest')
  const files = servesHttp ? tlsFilesOf(config) : undefined
  const tls = files && readTlsFiles(files)
  const http = servesHttp
    ? createHttpServer({
        host: config.host,
        port: config.port,
        app: (req, res) => app(req, res),
        first: (req, res) => first?.(req, res) ?? false,
        ...(tls ? { tls } : {}),
        drainMs: config.drainTimeoutMs,
        logger,
      })
    : undefined
  const management = createHttpServer({
    name: 'management',
    host: config.managementHost,
    port: config.managementPort,
    portSetting: 'MANAGEMENT_PORT',
    app: createManagementApp({ readiness: () => readiness(), metrics, logger }),
    logger,
  })
  await http?.start()
  try {
    await management.start()
  } catch (error) {
    await http?.stop()
    throw error
  }
  return {
    tlsWatch:
      http && files && tls
        ? createTlsWatch({ files, loaded: tls, apply: http.replaceTls, metrics, logger })
        : undefined,
    url: http && originOf(tls ? 'https' : 'http', config.host, http.port()),
    port: http?.port(),
    managementUrl: originOf('http', config.managementHost, management.port()),
    managementPort: management.port(),
    open(routes) {
      first = routes.first
      app = routes.app
    },
    reportReadiness(ask) {
      readiness = ask
    },
    closeHttp: async () => void (await http?.stop()),
    closeManagement: () => management.stop(),
  }
}

function originOf(scheme: string, host: string, port: number): string {
  return `${scheme}://${isIPv6(host) ? `[${host}]` : host}:${port}`
}

function tlsFilesOf({ tlsCertFile, tlsKeyFile }: Config): TlsFiles | undefined {
  return tlsCertFile && tlsKeyFile ? { certFile: tlsCertFile, keyFile: tlsKeyFile } : undefined
}
