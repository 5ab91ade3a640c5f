import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'

/** How the endpoint answers one SET: a status, a status with an RFC 8935 error, or not at all. */
export type SinkAnswer =
  | number
  | { status: number; body?: object; headers?: Readonly<Record<string, string>> }
  | 'never'

/** A push endpoint (RFC 8935) of an enforcement point, scripted by a test. */
export interface SetSink {
  readonly url: string
  /** From now on SETs are answered by this. */
  answerWith(answer: (set: string) => SinkAnswer): void
  /** Stops listening: connections are refused. */
  shut(): Promise<void>
  /** Listens again on the same port. */
  open(): Promise<void>
  close(): Promise<void>
}

/** @param onSet is called with each SET that is about to be answered 202 */
export async function startSink(onSet: (set: string) => void): Promise<SetSink> {
  let answer: (set: string) => SinkAnswer = () => 202
  let server: Server
  let port = 0

  async function handle(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const set = await readBody(req)
    const chosen = answer(set)
    if (chosen === 'never') return
    const { status, body, headers } = typeof chosen === 'number' ? { status: chosen } : chosen
    if (status === 202) onSet(set)
    res
      .writeHead(status, { ...(body && { 'content-type': 'application/json' }), ...headers })
      .end(body && JSON.stringify(body))
  }

  async function open(): Promise<void> {
    server = createServer((req, res) => {
      handle(req, res).catch(() => res.destroy())
    })
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen({ port, host: '127.0.0.1' }, resolve)
    })
    port = (server.address() as AddressInfo).port
  }

  async function shut(): Promise<void> {
    const closed = new Promise<void>((resolve) => server.close(() => resolve()))
    server.closeAllConnections()
    await closed
  }

  await open()
  return {
    url: `http://127.0.0.1:${port}/events`,
    answerWith(next) {
      answer = next
    },
    shut,
    open,
    close: shut,
  }
}

async function readBody(req: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of req) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks).toString('utf8')
}

export interface SetPoller {
  stop(): Promise<void>
}

export interface PollerOptions {
  /** The hub to ask next; another one after a failure. */
  base(failures: number): string
  path: string
  token: string
  /** Answers the jti to acknowledge with the next poll. */
  onSet(set: string): string
  /** After a failure it does not know any more what it has not acknowledged. */
  forgets?: boolean
}

/** A poll client (RFC 8936 §2.4) that long-polls and acknowledges with the next poll, until stopped. */
export function startPoller(options: PollerOptions): SetPoller {
  const stopping = new AbortController()
  let failures = 0

  async function run(): Promise<void> {
    let ack: string[] = []
    while (!stopping.signal.aborted) {
      try {
        const sets = await poll(options, { ack, base: options.base(failures), signal: stopping.signal })
        ack = Object.values(sets).map(options.onSet)
      } catch {
        // What was not acknowledged comes again; the acknowledgement is repeated too.
        failures += 1
        if (options.forgets) ack = []
        await delay(50)
      }
    }
  }

  const running = run()
  return {
    async stop() {
      stopping.abort()
      await running
    },
  }
}

/** One poll. Answers the SETs by jti. */
export async function poll(
  { path, token }: Pick<PollerOptions, 'path' | 'token'>,
  request: { base: string; ack: string[]; signal?: AbortSignal; returnImmediately?: boolean },
): Promise<Record<string, string>> {
  const deadline = AbortSignal.timeout(40_000)
  const response = await fetch(request.base + path, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ ack: request.ack, returnImmediately: request.returnImmediately ?? false }),
    signal: request.signal ? AbortSignal.any([deadline, request.signal]) : deadline,
  })
  const text = await response.text()
  if (!response.ok) throw new Error(`the poll was answered ${response.status}: ${text}`)
  return (JSON.parse(text) as { sets: Record<string, string> }).sets
}
