import { createServer, type IncomingHttpHeaders } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface SeenRequest {
  /** `GET /v1/events?from=…` */
  line: string
  body: unknown
  headers: IncomingHttpHeaders
}

export interface ScriptedAnswer {
  status?: number
  body?: unknown
  /** Sent as it is, instead of `body`. */
  text?: string
  headers?: Record<string, string>
}

/** Answers by `METHOD /path` without the query; a list of answers is used up, its last one stays. */
export type Script = Record<
  string,
  ScriptedAnswer | ScriptedAnswer[] | ((request: SeenRequest) => ScriptedAnswer)
>

export interface ScriptedHub {
  readonly url: string
  readonly seen: SeenRequest[]
  close(): Promise<void>
}

/** Says what a hub would say. A call that the script does not know is answered 599, which no test expects. */
export async function startScriptedHub(script: Script): Promise<ScriptedHub> {
  const seen: SeenRequest[] = []
  const server = createServer((req, res) => {
    const chunks: Buffer[] = []
    req.on('data', (chunk: Buffer) => chunks.push(chunk))
    req.on('end', () => {
      const text = Buffer.concat(chunks).toString()
      const line = `${req.method} ${req.url}`
      const request = { line, body: text === '' ? undefined : JSON.parse(text), headers: req.headers }
      seen.push(request)
      const answer = answerTo(script, request)
      const body = answer.text ?? (answer.body === undefined ? '' : JSON.stringify(answer.body))
      res.writeHead(answer.status ?? 200, { 'content-type': 'application/json', ...answer.headers }).end(body)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    seen,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

function answerTo(script: Script, request: SeenRequest): ScriptedAnswer {
  const entry = script[request.line.replace(/\?.*$/, '')]
  if (entry === undefined) return { status: 599, body: { code: 'ERR_NOT_SCRIPTED', message: request.line } }
  if (typeof entry === 'function') return entry(request)
  if (!Array.isArray(entry)) return entry
  return (entry.length > 1 ? entry.shift() : entry[0]) ?? {}
}
