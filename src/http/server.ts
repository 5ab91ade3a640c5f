import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
} from 'node:http'
import { createServer as createTlsServer, Server as TlsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { StartupError } from '../kernel/errors.js'
import type { Logger } from '../kernel/logger.js'
import type { Health, Worker } from '../kernel/worker.js'
import { networkOf } from './client-address.js'
import { notAPair, type TlsPair, tlsContext } from './tls-files.js'

export interface HttpServerOptions {
  host: string
  /** 0 takes a free one; `port()` says which. */
  port: number
  app: RequestListener
  /** Sees each request before express does; true means that it answers. For paths where express's cost counts. */
  first?: (req: IncomingMessage, res: ServerResponse) => boolean
  tls?: TlsPair
  logger: Logger
  /** For the log. Default `http`. */
  name?: string
  /** The setting to name when the port is taken. Default `PORT`. */
  portSetting?: string
  maxConnections?: number
  headersTimeoutMs?: number
  requestTimeoutMs?: number
  /** In-flight requests may take this long at stop before they are cut. Default 10 s. */
  drainMs?: number
}

export interface HttpServer extends Worker {
  /** The port listened on. */
  port(): number
  /** For connections from now on. Throws, and changes nothing, when the pair cannot be used. */
  replaceTls(pair: TlsPair): void
}

/**
 * An HTTP server with limits that Node leaves open by default: slow headers and slow bodies are cut with 408,
 * connections are bounded. `stop` takes no new connections, lets requests in flight finish, closes the rest.
 */
export function createHttpServer(options: HttpServerOptions): HttpServer {
  const name = options.name ?? 'http'
  const inFlight = new Set<ServerResponse>()
  let stopping = false

  const server = openServer(options, (req, res) => {
    inFlight.add(res)
    if (stopping) res.shouldKeepAlive = false
    res.once('close', () => {
      inFlight.delete(res)
      // A connection whose last answer began before stop() is idle only now.
      if (stopping) server.closeIdleConnections()
    })
    if (!takenByFirst(options, req, res)) options.app(req, res)
  })
  const maxConnections = options.maxConnections ?? 5_000
  server.maxConnections = maxConnections
  keepConnectionsFree(server, maxConnections)
  server.on('drop', () =>
    options.logger.warn('connection.dropped', { server: name, reason: 'too many connections' }),
  )

  return {
    name,
    start: () => listen(server, options),
    async stop() {
      if (!server.listening) return
      stopping = true
      for (const res of inFlight) if (!res.headersSent) res.shouldKeepAlive = false
      const cut = setTimeout(() => {
        options.logger.warn('server.drain_cut', { server: name, requests: inFlight.size })
        server.closeAllConnections()
      }, options.drainMs ?? 10_000)
      await new Promise<void>((resolve) => server.close(() => resolve()))
      clearTimeout(cut)
    },
    health: (): Health =>
      server.listening && !stopping
        ? { ok: true }
        : { ok: false, reason: `The ${name} server is not listening.` },
    replaceTls(pair) {
      if (server instanceof TlsServer) server.setSecureContext(tlsContext(pair))
    },
    port: () => (server.address() as AddressInfo | null)?.port ?? options.port,
  }
}

/** Nothing stands around `first` as express stands around routers: what it throws would end the process. */
function takenByFirst(options: HttpServerOptions, req: IncomingMessage, res: ServerResponse): boolean {
  try {
    return options.first?.(req, res) ?? false
  } catch (error) {
    options.logger.error('request.failed', { error: error instanceof Error ? error.stack : String(error) })
    if (!res.headersSent) res.writeHead(500)
    res.end()
    return true
  }
}

/**
 * Neither one network nor idle connections may take all places: above three quarters a network gets no more, and when
 * hardly any are left, the idle ones are closed. Who is cut off so connects again.
 */
function keepConnectionsFree(server: Server, max: number): void {
  const open = new Map<string, number>()
  let total = 0
  server.on('connection', (socket) => {
    const network = networkOf(socket.remoteAddress ?? '')
    const own = (open.get(network) ?? 0) + 1
    open.set(network, own)
    total += 1
    socket.once('close', () => {
      total -= 1
      const left = (open.get(network) ?? 1) - 1
      if (left > 0) open.set(network, left)
      else open.delete(network)
    })
    if (own > Math.max(1, Math.ceil(max * 0.75))) socket.destroy()
    else if (total > max * 0.9) server.closeIdleConnections()
  })
}

function openServer(options: HttpServerOptions, listener: RequestListener): Server {
  const limits = {
    headersTimeout: options.headersTimeoutMs ?? 5_000,
    requestTimeout: options.requestTimeoutMs ?? 10_000,
    // Node looks for slow requests this often; its own 30 s would make the limits above meaningless.
    connectionsCheckingInterval: 500,
    // Longer than the 60 s of common proxies, so that it is they who close an idle connection.
    keepAliveTimeout: 65_000,
    maxHeaderSize: 16_384,
    noDelay: true,
  }
  if (!options.tls) return createServer(limits, listener)
  try {
    return createTlsServer(
      { ...limits, ...tlsContext(options.tls), handshakeTimeout: limits.headersTimeout },
      listener,
    )
  } catch (cause) {
    throw notAPair(cause)
  }
}

function listen(server: Server, options: HttpServerOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => reject(toStartupError(error, options)))
    server.listen({ host: options.host, port: options.port }, () => {
      server.removeAllListeners('error')
      server.on('error', (error) => options.logger.error('server.failed', { error: error.message }))
      resolve()
    })
  })
}

function toStartupError(error: NodeJS.ErrnoException, options: HttpServerOptions): Error {
  const setting = options.portSetting ?? 'PORT'
  const hostSetting = setting.replace(/PORT$/, 'HOST')
  if (error.code === 'EADDRINUSE') {
    return new StartupError(
      `Port ${options.port} on ${options.host} is taken; set ${setting} to a free port or stop the program that uses it.`,
    )
  }
  if (error.code === 'EACCES') {
    return new StartupError(
      `Port ${options.port} needs more rights than this user has; set ${setting} above 1023.`,
    )
  }
  if (error.code === 'EADDRNOTAVAIL' || error.code === 'ENOTFOUND') {
    return new StartupError(
      `${options.host} is no address of this machine; set ${hostSetting} to one that is.`,
    )
  }
  return new StartupError(
    `Cannot listen on ${options.host}:${options.port}: ${error.message}; check ${setting}.`,
  )
}
