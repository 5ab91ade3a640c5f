import type { Admin } from 'kafkajs'
import { Conflict } from '../kernel/errors.js'
import { LANES, type Lane } from '../secevent/event.js'
import { createKafkaClient, explainKafkaError, type KafkaConnection, withDeadline } from './kafka-client.js'
import { groupOf, topicOf } from './kafka-topics.js'

/** Offset of the next record to be read. */
export interface PartitionPosition {
  readonly partition: number
  readonly offset: string
}

export interface LanePosition {
  readonly lane: Lane
  readonly partitions: readonly PartitionPosition[]
}

/** How far one lane went back. */
export interface LaneRewound {
  readonly lane: Lane
  /** To be read again; some of them may be gone, or not yet there. */
  readonly records: number
  /** Wanted, and gone from the topic or too old to be believed. */
  readonly skipped: number
  readonly partitions: readonly { readonly partition: number; readonly from: string; readonly to: string }[]
}

/** Back to a time, ms since the epoch, or to positions that were read earlier. */
export type RewindTarget =
  | { readonly timeMs: number }
  | { readonly positions: readonly { lane: string; partitions: readonly PartitionPosition[] }[] }

export interface RewindOptions {
  readonly target: RewindTarget
  /** Older records would not be believed. Ms since the epoch. */
  readonly oldestMs: number
}

export interface KafkaPlace {
  readonly connection: KafkaConnection
  readonly topicPrefix: string
}

const REQUEST_TIMEOUT_MS = 5_000
const TIMEOUT_MS = 60_000

/**
 * Where fan-out has read to. Committed after the database: what stands before these positions is in a snapshot that is
 * taken afterwards.
 */
export function readKafkaPositions(place: KafkaPlace): Promise<LanePosition[]> {
  return withAdmin(place, async (admin) => {
    const lanes: LanePosition[] = []
    for (const lane of LANES)
      lanes.push({ lane, partitions: await committed(admin, place.topicPrefix, lane) })
    return lanes
  })
}

/**
 * Sets the position of fan-out back, never forward. What is then read again is dropped as a repeat, or was lost.
 * @throws Conflict while a hub reads
 */
export function rewindKafka(place: KafkaPlace, options: RewindOptions): Promise<LaneRewound[]> {
  return withAdmin(place, async (admin) => {
    await requireNoReader(admin, place.topicPrefix)
    const lanes: LaneRewound[] = []
    for (const lane of LANES) {
      const planned = await planLane(admin, place.topicPrefix, lane, options)
      const partitions = planned
        .filter(({ from, to }) => from !== to)
        .map(({ partition, from, to }) => ({ partition, from, to }))
      if (partitions.length > 0) {
        await admin.setOffsets({
          groupId: groupOf(place.topicPrefix, lane),
          topic: topicOf(place.topicPrefix, lane),
          partitions: partitions.map(({ partition, to }) => ({ partition, offset: to })),
        })
      }
      const records = partitions.reduce((sum, { from, to }) => sum + Number(BigInt(from) - BigInt(to)), 0)
      const skipped = planned.reduce((sum, each) => sum + each.skipped, 0)
      lanes.push({ lane, records, skipped, partitions })
    }
    return lanes
  })
}

async function withAdmin<T>(place: KafkaPlace, work: (admin: Admin) => Promise<T>): Promise<T> {
  const { connection, topicPrefix } = place
  const ids = { clientId: `${topicPrefix}-positions`, requestTimeoutMs: REQUEST_TIMEOUT_MS }
  const client = createKafkaClient(connection, ids)
  const admin = client.kafka.admin({ retry: { retries: 8, initialRetryTime: 50, maxRetryTime: 500 } })
  try {
    return await withDeadline(workWithTopics(admin, topicPrefix, work), TIMEOUT_MS, 'positions')
  } catch (error) {
    throw error instanceof Conflict ? error : explainKafkaError(error, connection.brokers)
  } finally {
    client.destroy()
  }
}

/** The topics' metadata first: without, kafkajs knows no broker that it could ask for a group. */
async function workWithTopics<T>(
  admin: Admin,
  prefix: string,
  work: (admin: Admin) => Promise<T>,
): Promise<T> {
  await admin.connect()
  await admin.fetchTopicMetadata({ topics: LANES.map((lane) => topicOf(prefix, lane)) })
  return await work(admin)
}

async function requireNoReader(admin: Admin, prefix: string): Promise<void> {
  const { groups } = await admin.describeGroups(LANES.map((lane) => groupOf(prefix, lane)))
  const read = groups
    .filter(({ state }) => state !== 'Empty' && state !== 'Dead')
    .map(({ groupId }) => groupId)
  if (read.length === 0) return
  throw new Conflict(
    `A hub reads ${read.join(', ')} now: stop every hub, wait 10 s after one that was killed, and call this again.`,
  )
}

/** Only what was committed: a partition of which nothing was is read from its beginning anyway. */
async function committed(admin: Admin, prefix: string, lane: Lane): Promise<PartitionPosition[]> {
  const [group] = await admin.fetchOffsets({
    groupId: groupOf(prefix, lane),
    topics: [topicOf(prefix, lane)],
  })
  return (group?.partitions ?? [])
    .filter(({ offset }) => Number(offset) >= 0)
    .map(({ partition, offset }) => ({ partition, offset }))
}

async function planLane(
  admin: Admin,
  prefix: string,
  lane: Lane,
  { target, oldestMs }: RewindOptions,
): Promise<(LaneRewound['partitions'][number] & { skipped: number })[]> {
  const topic = topicOf(prefix, lane)
  const now = await committed(admin, prefix, lane)
  if (now.length === 0) return []
  const lows = toMap(
    (await admin.fetchTopicOffsets(topic)).map(({ partition, low }) => ({ partition, offset: low })),
  )
  const oldest = toMap(await admin.fetchTopicOffsetsByTimestamp(topic, oldestMs))
  const wanted = toMap(
    'timeMs' in target
      ? await admin.fetchTopicOffsetsByTimestamp(topic, target.timeMs)
      : (target.positions.find((each) => each.lane === lane)?.partitions ?? []),
  )
  return now.map(({ partition, offset }) => {
    const from = BigInt(offset)
    // Named in no earlier position: nothing of it had been read then.
    const back = wanted.get(partition) ?? 0n
    const floor = max(lows.get(partition) ?? 0n, oldest.get(partition) ?? 0n)
    const to = min(max(back, floor), from)
    const skipped = back < to ? Number(to - back) : 0
    return { partition, from: String(from), to: String(to), skipped }
  })
}

const toMap = (positions: readonly PartitionPosition[]): Map<number, bigint> =>
  new Map(positions.map(({ partition, offset }) => [partition, BigInt(offset)]))

const min = (a: bigint, b: bigint): bigint => (a < b ? a : b)
const max = (a: bigint, b: bigint): bigint => (a > b ? a : b)
