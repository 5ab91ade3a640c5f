import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'

/** One POST as it came over the wire. */
export interface Posted {
  readonly id: string
  readonly timestamp: string
  readonly signature: string
  readonly body: string
  readonly type: string
  readonly object: string | undefined
}

/** What receives alerts, scripted by a test. */
export interface WebhookEndpoint {
  readonly url: string
  /** In the order of arrival, refused ones included. */
  readonly posts: Posted[]
  /** From now on each POST is answered by this: a status, or `never`. */
  answerWith(answer: (post: Posted) => number | 'never', headers?: Record<string, string>): void
  /** Connections are refused until `open`. */
  shut(): Promise<void>
  open(): Promise<void>
}

export async function startWebhookEndpoint(): Promise<WebhookEndpoint> {
  const posts: Posted[] = []
  let answer: (post: Posted) => number | 'never' = () => 204
  let headers: Record<string, string> = {}
  let server: Server
  let port = 0

  async function open(): Promise<void> {
    server = createServer((req, res) => {
      let body = ''
      req.setEncoding('utf8').on('data', (text: string) => {
        body += text
      })
      req.on('end', () => {
        const { type, data } = JSON.parse(body) as { type: string; data: { object?: string } }
        const named = (name: string) => String(req.headers[`webhook-${name}`])
        const post = {
          id: named('id'),
          timestamp: named('timestamp'),
          signature: named('signature'),
          body,
          type,
          object: data.object,
        }
        posts.push(post)
        const status = answer(post)
        if (status !== 'never') res.writeHead(status, headers).end()
      })
    })
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen({ port, host: '127.0.0.1' }, resolve)
    })
    port = (server.address() as AddressInfo).port
  }

  await open()
  return {
    url: `http://127.0.0.1:${port}/alerts`,
    posts,
    answerWith(next, nextHeaders = {}) {
      answer = next
      headers = nextHeaders
    },
    async shut() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()))
      server.closeAllConnections()
      await closed
    },
    open,
  }
}
