import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { monotonicMs } from '../monotonic.js'

/** Every push endpoint of the run, in this process: `/ok/…` takes all, `/fail/…` answers 503. */
export interface Endpoints {
  readonly url: string
  /** Arrivals of one `txn`: path and time on the monotonic clock, the first of each path. */
  arrivalsOf(txn: string): ReadonlyMap<string, number>
  /** SETs that came to a path more than once. */
  repeats(): number
  close(): Promise<void>
}

export async function openEndpoints(): Promise<Endpoints> {
  const arrivals = new Map<string, Map<string, number>>()
  let repeats = 0

  function note(path: string, body: Buffer, atMs: number): void {
    const txn = txnOf(body)
    if (txn === undefined) return
    let paths = arrivals.get(txn)
    if (!paths) {
      paths = new Map()
      arrivals.set(txn, paths)
    }
    if (paths.has(path)) repeats += 1
    else paths.set(path, atMs)
  }

  function take(req: IncomingMessage, res: ServerResponse): void {
    const chunks: Buffer[] = []
    req.on('data', (chunk: Buffer) => chunks.push(chunk))
    req.on('end', () => {
      const path = req.url ?? '/'
      if (path.startsWith('/fail/')) {
        res.writeHead(503, { 'content-length': 0 }).end()
        return
      }
      const atMs = monotonicMs()
      res.writeHead(202, { 'content-length': 0 }).end()
      note(path, Buffer.concat(chunks), atMs)
    })
  }

  const server: Server = createServer({ keepAliveTimeout: 600_000, requestTimeout: 0 }, take)
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(0, '127.0.0.1', resolve)
  })
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    arrivalsOf: (txn) => arrivals.get(txn) ?? new Map<string, number>(),
    repeats: () => repeats,
    close: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

/** Of a compact SET; undefined when it has none. */
function txnOf(body: Buffer): string | undefined {
  const [, payload = ''] = body.toString('latin1').split('.')
  try {
    const { txn } = JSON.parse(Buffer.from(payload, 'base64url').toString()) as { txn?: unknown }
    return typeof txn === 'string' ? txn : undefined
  } catch {
    return undefined
  }
}
