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
const LOWEST_AGE_MS = 1_000
/** To half a year, each an eighth above the one before: nothing is kept for longer. */
const AGES_MS = Array.from({ length: 12 * 12 }, (_, step) => LOWEST_AGE_MS * 4 ** (step / 12))
/** Parts that one round of questions cuts what is left of these into. */
const PARTS = 4

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
 * Kafka tells no record's age, but where in the log a time begins: so it is asked for times. First for the lowest age,
 * which answers for a lane that is read as it comes. Then for a few at once: one by one, a slow broker makes twenty waits
 * of it; all at once, it makes so many questions of it that they stand in each other's way.
 */
async function findAgeMs(isOlderThan: (ageMs: number) => Promise<boolean>): Promise<number> {
  if (!(await isOlderThan(LOWEST_AGE_MS))) return LOWEST_AGE_MS
  // Something is older than the age at `low`, nothing than that at `high`.
  let low = 0
  let high = AGES_MS.length
  while (high - low > 1) {
    const part = Math.ceil((high - low) / PARTS)
    const asked: number[] = []
    for (let index = low + part; index < high; index += part) asked.push(index)
    const answers = await Promise.all(asked.map((index) => isOlderThan(AGES_MS[index] as number)))
    const last = answers.lastIndexOf(true)
    high = asked[last + 1] ?? high
    low = asked[last] ?? low
  }
  return AGES_MS[high] ?? LOWEST_AGE_MS * 4 ** 12
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
