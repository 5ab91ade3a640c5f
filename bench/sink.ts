import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Arrivals, createArrivals, type Schedule } from './arrivals.js'
import { serveCommands } from './command-child.js'
import { monotonicMs } from './monotonic.js'

/**
 * All receivers in one process: takes the time, answers 202 at once, and looks at nothing but the `txn`. The same for
 * the hub and for the bare process, so what it costs it costs both.
 */
const MAX_ORIGINS = 20
const TXN = '"txn":"bench-'

const ports: number[] = []
let arrivals: Arrivals | undefined
let strays = 0
/** The stream whose endpoint never answers, and what waits there. */
let stalled: number | undefined
const unanswered = new Set<ServerResponse>()

function take(req: IncomingMessage, res: ServerResponse): void {
  const chunks: Buffer[] = []
  req.on('data', (chunk: Buffer) => chunks.push(chunk))
  req.on('end', () => {
    const atMs = monotonicMs()
    const stream = Number(req.url?.slice(1))
    if (stream === stalled) {
      unanswered.add(res)
      res.on('close', () => unanswered.delete(res))
      return
    }
    res.writeHead(202, { 'content-length': 0 }).end()
    const body = chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks)
    const known = arrivals?.record(seqOf(body), stream, atMs)
    if (!known) strays += 1
  })
}

/** The number in the `txn` of a compact SET; NaN when it has none of ours. */
function seqOf(body: Buffer): number {
  const from = body.indexOf(46) + 1
  const payload = body.toString('latin1', from, body.indexOf(46, from))
  const json = Buffer.from(payload, 'base64url').toString('latin1')
  const at = json.indexOf(TXN)
  return at < 0 ? Number.NaN : Number.parseInt(json.slice(at + TXN.length, at + TXN.length + 16), 10)
}

async function open(): Promise<number> {
  const server: Server = createServer({ keepAliveTimeout: 600_000, requestTimeout: 0 }, take)
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(0, '127.0.0.1', resolve)
  })
  return (server.address() as AddressInfo).port
}

serveCommands({
  /**
   * Endpoints of that many receivers; beyond 20 they share origins, as receivers behind one gateway do. `lastApart`: the
   * last has an origin of its own.
   */
  async open({ streams, lastApart = false }: { streams: number; lastApart?: boolean }): Promise<string[]> {
    while (ports.length < Math.min(streams, MAX_ORIGINS)) ports.push(await open())
    const origins = ports.slice(0, Math.min(streams, MAX_ORIGINS))
    const urls = Array.from(
      { length: streams },
      (_, index) => `http://127.0.0.1:${origins[index % origins.length]}/${index}`,
    )
    return lastApart ? [...urls.slice(0, -1), `http://127.0.0.1:${await open()}/${streams - 1}`] : urls
  },
  /** From here on the endpoint of this stream takes requests and never answers; undefined: all answer again. */
  stall({ stream }: { stream?: number }): void {
    stalled = stream
    for (const res of unanswered) res.writeHead(202, { 'content-length': 0 }).end()
  },
  begin(window: { firstSeq: number; count: number; streams: number }): void {
    arrivals = createArrivals(window)
    strays = 0
  },
  /** Waits until that many have arrived, or until nothing has come for `stallMs`, or `maxMs` have passed. */
  async settle({ expected, stallMs, maxMs }: { expected: number; stallMs: number; maxMs: number }) {
    const beganMs = monotonicMs()
    let last = { delivered: 0, atMs: beganMs }
    for (;;) {
      const delivered = arrivals?.delivered() ?? 0
      const nowMs = monotonicMs()
      if (delivered !== last.delivered) last = { delivered, atMs: nowMs }
      if (delivered >= expected || nowMs - last.atMs > stallMs || nowMs - beganMs > maxMs) return delivered
      await sleep(20)
    }
  },
  /** SETs that belong to no window, since the last `begin`. */
  strays: () => strays,
  summarise: (schedule: Schedule) => ({ ...(arrivals as Arrivals).summarise(schedule), strays }),
})
