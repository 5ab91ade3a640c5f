import { once } from 'node:events'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import { createServer as createTlsServer, type TlsOptions } from 'node:tls'

export interface RawRequest {
  readonly socket: Socket
  readonly body: string
  /** Of this socket, counted from 1. */
  readonly number: number
}

/** An endpoint that writes bytes, not answers: what HTTP libraries would not let it do. */
export interface RawEndpoint {
  readonly port: number
  readonly url: string
  /** Requests so far. */
  requests(): number
  /** Connections so far. */
  connections(): number
  answerWith(answer: (request: RawRequest) => void): void
  close(): Promise<void>
}

export const ACCEPTED = 'HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n'

/** @param options.tls speaks TLS by these; @param options.host default 127.0.0.1 */
export async function startRawEndpoint(
  answer: (request: RawRequest) => void,
  options: { tls?: TlsOptions; host?: string } = {},
): Promise<RawEndpoint> {
  const host = options.host ?? '127.0.0.1'
  const sockets = new Set<Socket>()
  let answering = answer
  let requests = 0
  let connections = 0

  function serve(socket: Socket): void {
    connections += 1
    sockets.add(socket)
    socket.on('error', () => {}).on('close', () => sockets.delete(socket))
    let text = ''
    let number = 0
    socket.setEncoding('latin1').on('data', (chunk: string) => {
      text += chunk
      for (let end = endOfRequest(text); end > 0; end = endOfRequest(text)) {
        const body = text.slice(text.indexOf('\r\n\r\n') + 4, end)
        text = text.slice(end)
        requests += 1
        number += 1
        answering({ socket, body, number })
      }
    })
  }

  const server: Server = options.tls ? createTlsServer(options.tls, serve) : createServer(serve)
  server.on('tlsClientError', () => {})
  server.listen(0, host)
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return {
    port,
    url: `${options.tls ? 'https' : 'http'}://${host}:${port}/events`,
    requests: () => requests,
    connections: () => connections,
    answerWith(next) {
      answering = next
    },
    async close() {
      const closed = new Promise((resolve) => server.close(resolve))
      for (const socket of sockets) socket.destroy()
      await closed
    },
  }
}

/** Where the first whole request ends; 0 while it is not whole. */
function endOfRequest(text: string): number {
  const head = text.indexOf('\r\n\r\n')
  if (head < 0) return 0
  const length = Number(/content-length: *(\d+)/i.exec(text.slice(0, head))?.[1] ?? 0)
  const end = head + 4 + length
  return text.length >= end ? end : 0
}

/** Writes a byte every 100 ms, for ever. */
export function drip(socket: Socket, byte: string): void {
  const timer = setInterval(() => socket.write(byte), 100)
  socket.once('close', () => clearInterval(timer))
}

/** Writes this as fast as the other side reads, until it hangs up. */
export function flood(socket: Socket, chunk: Buffer): void {
  const more = () => {
    while (!socket.destroyed && socket.write(chunk));
  }
  socket.on('drain', more)
  more()
}
