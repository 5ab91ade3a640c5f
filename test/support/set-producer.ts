import { randomUUID } from 'node:crypto'
import { Agent, request } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import type { Ledger } from './ledger.js'
import { EFFECTS, SESSION_ESTABLISHED, SESSION_REVOKED, type Upstream } from './upstream.js'

const agent = new Agent({ keepAlive: true, maxSockets: 64 })

/** Pushes one SET (RFC 8935 §2.1). Answers the status; undefined when the connection failed or took 15 s. */
export function pushSet(url: string, set: string): Promise<number | undefined> {
  return new Promise((resolve) => {
    const req = request(
      url,
      {
        method: 'POST',
        agent,
        timeout: 15_000,
        headers: { 'content-type': 'application/secevent+jwt', accept: 'application/json' },
      },
      (res) => {
        res.resume()
        res.once('end', () => resolve(res.statusCode))
        res.once('error', () => resolve(undefined))
      },
    )
    req.once('timeout', () => req.destroy(new Error('timeout')))
    req.once('error', () => resolve(undefined))
    req.end(set)
  })
}

export interface LoadOptions {
  readonly upstream: Upstream
  readonly ledger: Ledger
  /** Ingest URLs, taken in turn; after a failure the same SET goes to the next one. */
  readonly urls: readonly string[]
  readonly count: number
  readonly concurrency?: number
  readonly users?: number
  /** Of the n-th SET, from 0. Default: one user for each round through the types. */
  subjectOf?(number: number): string
  /** Taken in turn. Default: two of three are urgent, the others routine. */
  readonly types?: readonly string[]
  /** Give up a SET that was not accepted: the hub is going away on purpose. Default: go on until accepted. */
  giveUp?(): boolean
  /** After each 202, with how many there are now. */
  onAccepted?(count: number): void
}

export interface LoadResult {
  readonly accepted: number
  /** Pushes that were not answered 202, by status; 0: no answer. */
  readonly refused: ReadonlyMap<number, number>
}

const GIVE_UP_MS = 120_000

const TYPES = [SESSION_ESTABLISHED, SESSION_REVOKED, SESSION_REVOKED]

/** Pushes SETs with a txn each and writes every 202 into the ledger. */
export async function pushLoad(options: LoadOptions): Promise<LoadResult> {
  const { upstream, ledger, urls, count, concurrency = 24, users = 200, types = TYPES } = options
  const refused = new Map<number, number>()
  const mark = randomUUID().slice(0, 8)
  const end = performance.now() + GIVE_UP_MS
  let next = 0
  let accepted = 0

  async function pushOne(number: number): Promise<void> {
    const txn = `${mark}-${number}`
    const type = types[number % types.length] as string
    const subject = options.subjectOf?.(number) ?? `user-${Math.floor(number / types.length) % users}`
    const set = await upstream.sign({ txn, type, user: subject })
    const sentAtMs = performance.now()
    for (let tries = 0; ; tries += 1) {
      const status = await pushSet(urls[(number + tries) % urls.length] as string, set)
      if (status === 202) break
      refused.set(status ?? 0, (refused.get(status ?? 0) ?? 0) + 1)
      if (options.giveUp?.()) return
      if (status === 400 || performance.now() > end) {
        throw new Error(`the hub does not take ${txn}: ${status ?? 'no answer'}`)
      }
      await delay(50)
    }
    accepted += 1
    ledger.accepted(txn, { sentAtMs, subject, effect: EFFECTS[type] ?? 'neutral' })
    options.onAccepted?.(accepted)
  }

  async function work(): Promise<void> {
    while (next < count && !(next > 0 && options.giveUp?.())) {
      next += 1
      await pushOne(next - 1)
    }
  }

  await Promise.all(Array.from({ length: Math.min(concurrency, count) }, work))
  return { accepted, refused }
}
