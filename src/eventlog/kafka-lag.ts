import { setTimeout as delay } from 'node:timers/promises'
import type { Admin } from 'kafkajs'

/** What a group has not committed of one topic, whoever reads it. */
export interface TopicLag {
  readonly records: number
  /** Of the oldest of these; up to a second, or an eighth, too much. */
  readonly oldestAgeS: number
}

const LEADER_TRIES = 10
const LEADER_WAIT_MS = 100
/** 1 s, 4 s, 16 s … to 48 days: nothing is kept for longer. */
const STEPS_MS = Array.from({ length: 12 }, (_, step) => 1_000 * 4 ** step)
/** Between two steps, each an eighth above the one before. */
const FINER = Array.from({ length: 11 }, (_, step) => 4 ** ((step + 1) / 12))

/** Where a lane's records are, and who reads them. */
export interface ReadTopic {
  readonly topic: string
  readonly groupId: string
}

type LagAdmin = Pick<Admin, 'fetchTopicOffsets' | 'fetchOffsets' | 'fetchTopicOffsetsByTimestamp'>

/**
 * Group offsets against the log's ends, of all topics at once: on a slow broker each question takes long, and one lane's
 * must not use up the time of the others. The records' times are on the clock of whoever wrote them, here the shared one.
 * @param nowMs on that clock
 */
export function readTopicLags(
  admin: LagAdmin,
  topics: readonly ReadTopic[],
  nowMs: number,
): Promise<TopicLag[]> {
  return Promise.all(topics.map((each) => readTopicLag(admin, each, nowMs)))
}

async function readTopicLag(
  admin: LagAdmin,
  { topic, groupId }: ReadTopic,
  nowMs: number,
): Promise<TopicLag> {
  // In this order: before it has a topic's metadata, kafkajs knows no broker that it could ask for a group.
  const ends = await fetchEnds(admin, topic)
  const [group] = await admin.fetchOffsets({ groupId, topics: [topic] })
  const committed = new Map(group?.partitions.map(({ partition, offset }) => [partition, Number(offset)]))
  const unread = new Map<number, number>()
  let records = 0
  for (const { partition, low, high } of ends) {
    // Retention may have cut what was never read; nothing committed is -1.
    const from = Math.max(committed.get(partition) ?? -1, Number(low))
    if (Number(high) <= from) continue
    records += Number(high) - from
    unread.set(partition, from)
  }
  if (records === 0) return { records, oldestAgeS: 0 }
  const isOlderThan = async (ageMs: number) => {
    const begins = await admin.fetchTopicOffsetsByTimestamp(topic, Math.floor(nowMs - ageMs))
    return begins.some(({ partition, offset }) => {
      const from = unread.get(partition)
      return from !== undefined && Number(offset) > from
    })
  }
  return { records, oldestAgeS: (await findAgeMs(isOlderThan)) / 1000 }
}

/**
 * Kafka tells no record's age, but where in the log a time begins: so it is asked for times, in growing steps and then
 * between two. All of a kind at once, so that a slow broker makes two waits of it, not twenty.
 */
async function findAgeMs(isOlderThan: (ageMs: number) => Promise<boolean>): Promise<number> {
  const low = await oldestBelow(STEPS_MS, isOlderThan)
  if (low === undefined) return STEPS_MS[0] as number
  const between = FINER.map((factor) => low * factor)
  const lowest = (await oldestBelow(between, isOlderThan)) ?? low
  return between.find((ageMs) => ageMs > lowest) ?? low * 4
}

/** The highest age that something is older than. */
async function oldestBelow(
  agesMs: readonly number[],
  isOlderThan: (ageMs: number) => Promise<boolean>,
): Promise<number | undefined> {
  const answers = await Promise.all(agesMs.map(isOlderThan))
  return agesMs.findLast((_, index) => answers[index])
}

/** Right after a topic was made its broker may not lead it yet; kafkajs gives up at the first such answer. */
async function fetchEnds(admin: LagAdmin, topic: string) {
  for (let tries = 1; ; tries += 1) {
    try {
      return await admin.fetchTopicOffsets(topic)
    } catch (error) {
      const isElecting = (error as { type?: string }).type === 'NOT_LEADER_FOR_PARTITION'
      if (!isElecting || tries >= LEADER_TRIES) throw error
      await delay(LEADER_WAIT_MS)
    }
  }
}
