import { createPrivateKey, type JsonWebKey, type KeyObject, randomUUID, sign } from 'node:crypto'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { type Dispatcher, Pool } from 'undici'
import type { Schedule } from './arrivals.js'
import { serveCommands } from './command-child.js'
import { monotonicMs } from './monotonic.js'
import { quantile } from './statistics.js'

/** RFC 8935 pushes on a fixed schedule, whatever the answers do: waiting in here counts as latency. */
export interface PrepareSettings {
  readonly firstSeq: number
  readonly count: number
  readonly issuer: string
  readonly audience: string
  readonly privateJwk: JsonWebKey
  readonly kid: string
  /** Distinct subjects, taken in turn. */
  readonly users: number
  /** Event type URI. */
  readonly type: string
}

export interface DriveSettings {
  readonly url: string
  readonly ratePerS: number
}

export interface DriveResult extends Schedule {
  readonly accepted: number
  /** Answered, and not with 202. */
  readonly refused: number
  readonly failed: number
  /** Stopped early: the system was far behind, and more would only cost time. */
  readonly aborted: boolean
  readonly answerP50Ms: number
  readonly answerP99Ms: number
  /** Start of sending after the intended time: what the driver itself adds. */
  readonly latenessP99Ms: number
  /** The first answer that was no 202. */
  readonly firstRefusal?: string
}

const CONNECTIONS = 128
/** Behind by this much of the schedule, the run is lost. */
const MAX_BEHIND_S = 2
const SIGNED_PER_TURN = 200

let sets: Buffer[] = []

async function prepare(settings: PrepareSettings): Promise<void> {
  const key = createPrivateKey({ key: settings.privateJwk, format: 'jwk' })
  sets = []
  for (let index = 0; index < settings.count; index += 1) {
    sets.push(signSet(settings, key, settings.firstSeq + index))
    if (index % SIGNED_PER_TURN === 0) await nextTurn()
  }
}

/** CAEP 1.0 §3.1, signed with ES256. */
function signSet(
  { kid, issuer, audience, users, type }: PrepareSettings,
  key: KeyObject,
  seq: number,
): Buffer {
  const nowS = Math.floor(Date.now() / 1000)
  const claims = {
    iss: issuer,
    jti: randomUUID(),
    iat: nowS,
    aud: audience,
    txn: `bench-${seq}`,
    sub_id: { format: 'iss_sub', iss: issuer, sub: `user-${seq % users}` },
    events: {
      [type]: {
        event_timestamp: nowS,
        initiating_entity: 'policy',
        reason_admin: { en: 'Risk score over the limit.' },
      },
    },
  }
  const content = `${encode({ alg: 'ES256', typ: 'secevent+jwt', kid })}.${encode(claims)}`
  const signature = sign('sha256', Buffer.from(content), { key, dsaEncoding: 'ieee-p1363' })
  return Buffer.from(`${content}.${signature.toString('base64url')}`)
}

const encode = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')

async function drive({ url, ratePerS }: DriveSettings): Promise<DriveResult> {
  const target = new URL(url)
  const pool = new Pool(target.origin, { connections: CONNECTIONS, pipelining: 1, keepAliveTimeout: 60_000 })
  const answers: number[] = []
  const lateness: number[] = []
  const tally = { accepted: 0, refused: 0, failed: 0 }
  const maxBehind = Math.max(50, ratePerS * MAX_BEHIND_S)
  const startMs = monotonicMs() + 20
  let firstRefusal: string | undefined
  let inFlight = 0
  let sent = 0
  let aborted = false

  const over = new Promise<void>((resolve) => {
    const endOne = (): void => {
      inFlight -= 1
      if (inFlight === 0 && (aborted || sent === sets.length)) resolve()
    }

    function send(index: number): void {
      const meantMs = startMs + (index * 1000) / ratePerS
      lateness.push(monotonicMs() - meantMs)
      inFlight += 1
      let status = 0
      let text = ''
      const handler: Dispatcher.DispatchHandler = {
        onRequestStart() {},
        onResponseStart(_controller, statusCode) {
          status = statusCode
        },
        onResponseData(_controller, chunk) {
          if (status !== 202) text += chunk.toString()
        },
        onResponseEnd() {
          answers.push(monotonicMs() - meantMs)
          if (status === 202) tally.accepted += 1
          else tally.refused += 1
          if (status !== 202) firstRefusal ??= `${status} ${text.slice(0, 200)}`
          endOne()
        },
        onResponseError(_controller, error) {
          tally.failed += 1
          firstRefusal ??= error.message
          endOne()
        },
      }
      const headers = { 'content-type': 'application/secevent+jwt', accept: 'application/json' }
      pool.dispatch({ path: target.pathname, method: 'POST', headers, body: sets[index] as Buffer }, handler)
    }

    function tick(): void {
      const due = Math.min(sets.length, Math.floor(((monotonicMs() - startMs) * ratePerS) / 1000) + 1)
      while (sent < due) send(sent++)
      if (inFlight > maxBehind) aborted = true
      if (sent < sets.length && !aborted) {
        const waitMs = startMs + (sent * 1000) / ratePerS - monotonicMs()
        setTimeout(tick, Math.max(1, Math.floor(waitMs)))
      } else if (inFlight === 0) {
        resolve()
      }
    }
    tick()
  })
  await over
  sets = []
  await pool.close()
  return {
    startMs,
    ratePerS,
    sent,
    ...tally,
    aborted,
    answerP50Ms: quantile(answers.sort(ascending), 0.5),
    answerP99Ms: quantile(answers, 0.99),
    latenessP99Ms: quantile(lateness.sort(ascending), 0.99),
    ...(firstRefusal === undefined ? {} : { firstRefusal }),
  }
}

const ascending = (a: number, b: number): number => a - b

serveCommands({ prepare, drive })
