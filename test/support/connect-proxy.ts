import { createServer, type IncomingHttpHeaders, type RequestListener, type Server } from 'node:http'
import { createServer as createSecureServer } from 'node:https'
import { type AddressInfo, connect, type Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'

/** What the proxy does with one CONNECT: a status, silence, or a tunnel to a port of loopback. */
export type TunnelAnswer = number | 'never' | 'hang up' | { toPort: number }

/** A proxy that knows CONNECT (RFC 9110 §9.3.6), scripted by a test. It never connects beyond loopback. */
export interface ConnectProxy {
  readonly port: number
  readonly url: string
  /** What it was asked for, in order, and as whom by TLS: `false` is by no name. */
  readonly asked: {
    authority: string
    headers: IncomingHttpHeaders
    servername: string | false | null | undefined
  }[]
  /** Requests that were not CONNECT. */
  readonly others: string[]
  answerWith(answer: (authority: string) => TunnelAnswer): void
  close(): Promise<void>
}

export async function startConnectProxy(
  options: { tls?: { cert: string; key: string } } = {},
): Promise<ConnectProxy> {
  const asked: ConnectProxy['asked'] = []
  const others: string[] = []
  const sockets = new Set<Socket>()
  let answer: (authority: string) => TunnelAnswer = () => 403

  const refuse: RequestListener = (req, res) => {
    others.push(`${req.method} ${req.url}`)
    res.writeHead(405).end()
  }
  const server: Server = options.tls ? createSecureServer(options.tls, refuse) : createServer(refuse)
  server.on('connection', (socket: Socket) => void sockets.add(socket.on('error', () => {})))
  server.on('connect', (req, client: Socket) => {
    const authority = req.url ?? ''
    asked.push({ authority, headers: req.headers, servername: (client as TLSSocket).servername })
    client.on('error', () => {})
    const chosen = answer(authority)
    if (chosen === 'never') return
    if (chosen === 'hang up') return void client.destroy()
    if (typeof chosen === 'number')
      return void client.end(`HTTP/1.1 ${chosen} No\r\nContent-Length: 0\r\n\r\n`)
    const far = connect(chosen.toPort, '127.0.0.1', () => {
      client.write('HTTP/1.1 200 Connection established\r\n\r\n')
      far.pipe(client).pipe(far)
    })
    sockets.add(far)
    far.on('error', () => client.destroy()).on('close', () => client.destroy())
    client.on('close', () => far.destroy())
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return {
    port,
    url: `${options.tls ? 'https' : 'http'}://127.0.0.1:${port}`,
    asked,
    others,
    answerWith(next) {
      answer = next
    },
    async close() {
      for (const socket of sockets) socket.destroy()
      await new Promise<void>((resolve) => void server.close(() => resolve()))
    },
  }
}
