import { sqlRows } from '../../src/storage/database.js'
import { type Cleanups, type Tools, withCleanups } from '../kit.js'
import {
  COMPLEX_SUBJECT,
  type Filled,
  fillOpen,
  fillPoll,
  fillProbes,
  fillStreams,
  fillSubjects,
  SIMPLE_SUBJECT,
  settleDatabase,
} from './fill.js'
import {
  costliestStatements,
  type Figures,
  type MeasureContext,
  measureAllStreams,
  measureAnswers,
  measureMatching,
  measureOneStream,
  measurePoll,
  measureUpkeep,
  type StatementCost,
  send,
  timed,
} from './measures.js'
import { type ScaleOptions, type ScaleSize, SMALL } from './options.js'
import { measureTakeover } from './takeover.js'
import { openWorld, TYPES, type World } from './world.js'

/** One size of the database, and what was measured at it. */
export interface StageResult {
  readonly name: string
  readonly size: ScaleSize
  readonly figures: Figures
  readonly statements: readonly StatementCost[]
}

export interface ScaleResult {
  readonly options: ScaleOptions
  readonly stages: readonly StageResult[]
  /** Filled open deliveries that are neither open, nor finished, nor parked; and sent ones that did not arrive. */
  readonly lost: number
  /** SETs that came to an endpoint more than once. */
  readonly repeats: number
}

interface Run {
  readonly context: MeasureContext
  readonly options: ScaleOptions
  say(text: string): void
}

/** Enough for a poll of 100 and five more. */
const POLLED = 700

export function runScale(options: ScaleOptions, { signal, say }: Tools): Promise<ScaleResult> {
  return withCleanups(signal, (cleanups) => measureStages(options, { cleanups, say }))
}

async function measureStages(
  options: ScaleOptions,
  { cleanups, say }: { cleanups: Cleanups; say(text: string): void },
): Promise<ScaleResult> {
  say('starting PostgreSQL and a hub')
  const world = await openWorld(options.heapMb, cleanups)
  const context = await prepare(world, options)
  const run: Run = { context, options, say }
  const stages: StageResult[] = []
  let polled = 0
  for (const { name, size } of stagesOf(options)) {
    await grow(run, size)
    polled += await fillPoll(world.db, context.probes.poll.streamId, POLLED)
    await settleDatabase(world.db)
    const { figures, acknowledged } = await measureStage(run, name)
    polled -= acknowledged
    stages.push({ name, size, figures, statements: await costliestStatements(world.db) })
  }
  const { filled } = context
  return {
    options,
    stages,
    lost: (await countMissing(context, filled.open + polled)) + countUnreached(context),
    repeats: world.endpoints.repeats(),
  }
}

/** Each step grows one thing, so that what changes is due to it. */
function stagesOf({ streams, subjects, open }: ScaleSize): { name: string; size: ScaleSize }[] {
  return [
    { name: 'small', size: SMALL },
    { name: 'streams', size: { ...SMALL, streams } },
    { name: 'subjects', size: { ...SMALL, streams, subjects } },
    { name: 'open', size: { streams, subjects, open } },
  ]
}

async function prepare(world: World, options: ScaleOptions): Promise<MeasureContext> {
  const { hub, source, db, endpoints } = world
  hub.start()
  await hub.ready()
  const probes = await fillProbes(db, endpoints.url)
  const call = async (path: string, body: object, token = hub.adminToken): Promise<unknown> => {
    const response = await fetch(hub.url + path, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: JSON.stringify(body),
    })
    const text = await response.text()
    if (!response.ok) throw new Error(`${path} answered ${response.status}: ${text}`)
    return text ? JSON.parse(text) : undefined
  }
  const { publicJwk, kid, issuer, audience } = source.identity
  const transmitter = await call('/v1/transmitters', {
    name: 'scale',
    issuer,
    audience,
    jwks: { keys: [{ ...publicJwk, kid, alg: 'ES256', use: 'sig' }] },
    algorithms: ['ES256'],
    budget_per_s: 1_000_000,
  })
  world.ingestPath = `/ingest/${(transmitter as { id: string }).id}`
  const tokenOf = async (receiverId: string): Promise<string> => {
    const scopes = ['ssf.read', 'ssf.manage']
    return ((await call(`/v1/receivers/${receiverId}/tokens`, { scopes })) as { token: string }).token
  }
  const filterToken = await tokenOf(probes.filter.receiverId)
  for (const subject of [SIMPLE_SUBJECT, COMPLEX_SUBJECT])
    await call('/ssf/subjects/add', { stream_id: probes.filter.streamId, subject }, filterToken)
  const context: MeasureContext = {
    world,
    probes,
    filled: emptyFill(),
    events: options.quick ? 20 : 60,
    tokens: { admin: hub.adminToken, poll: await tokenOf(probes.poll.receiverId) },
    owed: new Map(),
  }
  // Its sealed content is what the filled events are copied from.
  await send(context, hub, { type: TYPES.one, reaches: 1 })
  return context
}

const emptyFill = (): Filled => ({ streams: 0, subjects: 0, open: 0, plainPush: 0, filtered: [] })

async function grow({ context, say }: Run, size: ScaleSize): Promise<void> {
  const { world, filled, probes } = context
  const endpointsUrl = world.endpoints.url
  if (size.streams > filled.streams) {
    await fillStreams(world.db, filled, { count: size.streams, endpointsUrl })
    say(`${size.streams} streams`)
  }
  if (size.subjects > filled.subjects) await fillSubjects(world.db, filled, { count: size.subjects, say })
  if (size.open > filled.open) {
    const { streamId: pollStream } = probes.poll
    await fillOpen(world.db, filled, { count: size.open, pollStream, endpointsUrl, say })
  }
}

async function measureStage(
  { context, say }: Run,
  name: string,
): Promise<{ figures: Figures; acknowledged: number }> {
  const { hub, second, db } = context.world
  const note = (text: string) => say(`${name}: ${text}`)
  hub.signal('SIGTERM')
  await hub.ended()
  await db.raw('select pg_stat_statements_reset()')
  const startMs = await timed(async () => {
    hub.start()
    await hub.ready()
  })
  note(`ready after ${Math.round(startMs)} ms`)
  const matching = await measureMatching(context)
  const one = await measureOneStream(context)
  note('one event to one stream, measured')
  const all = await measureAllStreams(context)
  note(`one event to ${context.filled.plainPush} push streams, measured`)
  const { acknowledged, ...poll } = await measurePoll(context)
  const answers = await measureAnswers(context)
  const upkeep = await measureUpkeep(context)
  note('polls, lists and upkeep, measured')
  const takeover = await measureTakeover(context)
  note(`takeover ${takeover.takeover_worst_s?.toFixed(1)} s`)
  hub.start()
  await hub.ready()
  second.signal('SIGTERM')
  await second.ended()
  const figures = {
    start_ms: startMs,
    ...matching,
    ...one,
    ...all,
    ...poll,
    ...answers,
    ...upkeep,
    ...takeover,
  }
  return { figures, acknowledged }
}

async function countMissing({ world }: MeasureContext, expected: number): Promise<number> {
  const [row] = await sqlRows<{ n: number }>(
    world.db,
    `select (select count(*) from delivery_queue where type = ?)
       + (select count(*) from parked where type = ? and resolved_at is null)
       + (select count(*) from deliveries where type = ? and outcome <> 'received') as n`,
    [TYPES.backlog, TYPES.backlog, TYPES.backlog],
  )
  return Math.max(0, expected - (row?.n ?? 0))
}

function countUnreached({ owed, world }: MeasureContext): number {
  return [...owed].reduce(
    (sum, [txn, reaches]) => sum + Math.max(0, reaches - world.endpoints.arrivalsOf(txn).size),
    0,
  )
}
