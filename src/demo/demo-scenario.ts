import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { DemoChild } from './child-process.js'
import type { DemoHub } from './demo-hub.js'
import type { PointResult } from './demo-result.js'
import type { EnforcementPointSettings } from './enforcement-point.js'
import { SESSION_REVOKED } from './set-handler.js'
import type { RevokeOrder, UpstreamSettings } from './upstream-transmitter.js'

/** How the scenario starts processes and tells what it is doing. */
export interface Stage {
  readonly hub: DemoHub
  readonly signal: AbortSignal
  /** How long a point may let the revoked session in. */
  readonly patienceMs: number
  start<R>(child: { name: string; file: string; settings: object }): Promise<DemoChild<R>>
  step<T>(label: string, work: () => Promise<T>): Promise<T>
  note(text: string): void
}

interface Upstream {
  url: string
  ingestUrl: string
  authorization: string
}

interface Session {
  session_id: string
  access_token: string
}

interface Point {
  name: string
  method: 'push' | 'poll'
  receiverId: string
  url: string
  child: DemoChild<{ url: string }>
}

interface Registration {
  id: string
  client_id: string
  client_secret: string
}

const POINTS = [
  { name: 'gateway', method: 'push', issuedToken: false, applyDelayMs: 0 },
  { name: 'token-broker', method: 'poll', issuedToken: true, applyDelayMs: 0 },
  { name: 'tool-proxy', method: 'push', issuedToken: false, applyDelayMs: 1_500 },
] as const
const SESSION_AUDIENCE = 'demo-apis'
const REPORT_MS = 10_000
const LOOK_EVERY_MS = 15

/** Sign in, see it work, revoke, see it refused, read time to revoke. */
export async function playScenario(
  stage: Stage,
): Promise<{ txn: string; points: PointResult[]; problems: string[] }> {
  const upstream = await stage.step('an identity provider with its own keys, registered as transmitter', () =>
    startUpstream(stage),
  )
  const points = await stage.step('three enforcement points, each with its own SSF stream', () =>
    Promise.all(POINTS.map((point) => startPoint(stage, upstream, point))),
  )
  const [alice, bob] = await stage.step('alice and bob sign in', async () => [
    await post<Session>(`${upstream.url}/sessions`, { user: 'alice' }),
    await post<Session>(`${upstream.url}/sessions`, { user: 'bob' }),
  ])
  const before = await Promise.all(points.map((point) => lookAt(point, alice)))
  stage.note(`alice's session works: ${points.map((point, at) => `${point.name} ${before[at]}`).join(', ')}`)

  const fromMs = Date.now()
  const startedAt = performance.now()
  const watched = Promise.all(
    points.map((point) => watchUntilRefused(stage, { point, session: alice, startedAt })),
  )
  // Watched from now on; a failure below must not become an unhandled one here.
  watched.catch(() => {})
  const { txn } = await stage.step("the identity provider revokes alice's session", () =>
    revoke(upstream, alice),
  )
  const refusedAfterMs = await stage.step('ask each API until it refuses', () => watched)
  const times = await stage.step('the hub measured it', () => readTimes(stage, points, fromMs))

  const results = await Promise.all(
    points.map(async (point, at) => ({
      name: point.name,
      method: point.method,
      access_before: before[at] ?? 0,
      access_after: await lookAt(point, alice),
      refused_after_ms: refusedAfterMs[at] ?? null,
      received_ms: times.received.get(point.receiverId) ?? null,
      applied_ms: times.applied.get(point.receiverId) ?? null,
      other_session_after: await lookAt(point, bob),
    })),
  )
  return {
    txn,
    points: results,
    problems: [...results.flatMap(problemsOf), ...points.flatMap(childProblems)],
  }
}

async function startUpstream(stage: Stage): Promise<Upstream> {
  const settings: UpstreamSettings = { sessionAudience: SESSION_AUDIENCE }
  const child = await stage.start<{ url: string; jwksUri: string }>({
    name: 'identity provider',
    file: 'upstream-transmitter.js',
    settings,
  })
  const authorization = `Bearer ${randomBytes(32).toString('base64url')}`
  const registered = await stage.hub.call<{ ingest_url: string }>('POST', '/v1/transmitters', {
    name: 'demo-idp',
    issuer: child.ready.url,
    jwks_uri: child.ready.jwksUri,
    audience: [stage.hub.url],
    authorization_header: authorization,
  })
  return { url: child.ready.url, ingestUrl: registered.ingest_url, authorization }
}

async function startPoint(stage: Stage, upstream: Upstream, spec: (typeof POINTS)[number]): Promise<Point> {
  const receiver = await stage.hub.call<Registration>('POST', '/v1/receivers', {
    name: `demo-${spec.name}`,
    reports: ['applied'],
  })
  const settings: EnforcementPointSettings = {
    name: spec.name,
    hubIssuer: stage.hub.url,
    credentials: spec.issuedToken
      ? { token: await issueToken(stage.hub, receiver.id) }
      : { clientId: receiver.client_id, clientSecret: receiver.client_secret },
    method: spec.method,
    applyDelayMs: spec.applyDelayMs,
    sessions: { issuer: upstream.url, jwksUri: `${upstream.url}/jwks.json`, audience: SESSION_AUDIENCE },
  }
  const child = await stage.start<{ url: string }>({
    name: spec.name,
    file: 'enforcement-point.js',
    settings,
  })
  return { name: spec.name, method: spec.method, receiverId: receiver.id, url: child.ready.url, child }
}

async function issueToken(hub: DemoHub, receiverId: string): Promise<string> {
  const body = { scopes: ['ssf.read', 'ssf.manage'] }
  return (await hub.call<{ token: string }>('POST', `/v1/receivers/${receiverId}/tokens`, body)).token
}

function revoke(upstream: Upstream, session: Session): Promise<{ txn: string }> {
  const order: RevokeOrder = {
    ingest_url: upstream.ingestUrl,
    audience: new URL(upstream.ingestUrl).origin,
    authorization_header: upstream.authorization,
  }
  return post(`${upstream.url}/sessions/${session.session_id}/revoke`, order)
}

/** Asks the point's API again and again, as the session's holder would. */
async function watchUntilRefused(
  stage: Stage,
  { point, session, startedAt }: { point: Point; session: Session; startedAt: number },
): Promise<number | null> {
  for (;;) {
    stage.signal.throwIfAborted()
    const status = await lookAt(point, session)
    const elapsedMs = Math.round(performance.now() - startedAt)
    if (status === 401) {
      stage.note(`${point.name} (${point.method}) refuses alice after ${elapsedMs} ms`)
      return elapsedMs
    }
    if (elapsedMs > stage.patienceMs) return null
    await sleep(LOOK_EVERY_MS)
  }
}

type Times = Map<string, number>

interface TimeRow {
  point: { id: string }
  event_type: string
  pending: number
  p50_ms: number | null
}

async function readTimes(
  stage: Stage,
  points: Point[],
  fromMs: number,
): Promise<{ received: Times; applied: Times }> {
  const until = performance.now() + Math.min(REPORT_MS, stage.patienceMs)
  for (;;) {
    const received = await readStage(stage.hub, 'received', fromMs)
    const applied = await readStage(stage.hub, 'applied', fromMs)
    const complete = points.every(({ receiverId }) => received.has(receiverId) && applied.has(receiverId))
    if (complete || performance.now() > until) return { received, applied }
    await sleep(100, undefined, { signal: stage.signal })
  }
}

async function readStage(hub: DemoHub, stage: 'received' | 'applied', fromMs: number): Promise<Times> {
  // The hub's clock is its database's; a second of difference must not hide the event.
  const from = new Date(fromMs - 1_000).toISOString()
  const query = new URLSearchParams({ stage, from, group_by: 'point,event_type' })
  const { items } = await hub.call<{ items: TimeRow[] }>('GET', `/v1/time-to-revoke?${query}`)
  const done = items.filter(
    (row) => row.event_type === SESSION_REVOKED && row.pending === 0 && row.p50_ms !== null,
  )
  return new Map(done.map((row) => [row.point.id, row.p50_ms ?? 0]))
}

/** HTTP status of one use of the session's token. */
async function lookAt(point: Point, session: Session): Promise<number> {
  const headers = { authorization: `Bearer ${session.access_token}` }
  const response = await fetch(`${point.url}/resource`, { headers, signal: AbortSignal.timeout(5_000) })
  await response.arrayBuffer()
  return response.status
}

async function post<T>(url: string, body: object): Promise<T> {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(15_000),
  })
  const text = await response.text()
  if (!response.ok) throw new Error(`${url} answered ${response.status}: ${text.slice(0, 300)}`)
  return JSON.parse(text) as T
}

function problemsOf(point: PointResult): string[] {
  const problems: string[] = []
  if (point.access_before !== 200)
    problems.push(`${point.name} did not let the session in (${point.access_before})`)
  if (point.refused_after_ms === null || point.access_after !== 401) {
    problems.push(`${point.name} still lets the revoked session in (${point.access_after})`)
  }
  if (point.other_session_after !== 200) problems.push(`${point.name} refuses a session that was not revoked`)
  if (point.received_ms === null) problems.push(`the hub has no received time for ${point.name}`)
  if (point.applied_ms === null) problems.push(`the hub has no applied time for ${point.name}`)
  return problems
}

function childProblems({ name, child }: Point): string[] {
  return child.problems().map((problem) => `${name}: ${problem}`)
}
