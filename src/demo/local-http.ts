import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface LocalAnswer {
  status: number
  headers?: Record<string, string>
  body?: unknown
}

export type LocalHandler = (request: IncomingMessage, body: string) => Promise<LocalAnswer> | LocalAnswer

const MAX_BODY_BYTES = 64 * 1024

/** An HTTP server on a free loopback port; an object as body is sent as JSON. */
export async function serveLocally(handle: LocalHandler): Promise<{ url: string; close(): void }> {
  const server = createServer((request, response) => {
    void readBody(request)
      .then((body) => handle(request, body))
      .catch((error: unknown) => ({ status: 500, body: { message: String(error) } }))
      .then((answer) => send(response, answer))
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(0, '127.0.0.1', resolve)
  })
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close() {
      server.close()
      server.closeAllConnections()
    },
  }
}

async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of request) {
    bytes += (chunk as Buffer).length
    if (bytes > MAX_BODY_BYTES) throw new Error('the body is too large')
    chunks.push(chunk as Buffer)
  }
  return Buffer.concat(chunks).toString('utf8')
}

function send(response: ServerResponse, { status, headers = {}, body }: LocalAnswer): void {
  if (body === undefined) {
    response.writeHead(status, headers).end()
    return
  }
  response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body))
}
