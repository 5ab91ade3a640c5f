import { setTimeout as delay } from 'node:timers/promises'
import type { Admin } from 'kafkajs'

/** What a group has not committed of one topic, whoever reads it. */
export interface TopicLag {
  readonly records: number
  /** Of the oldest of these; up to a second, or a sixteenth, too much. */
  readonly oldestAgeS: number
}

const LEADER_TRIES = 10
const LEADER_WAIT_MS = 100
const FIRST_STEP_MS = 1_000
/** Nothing is kept for longer. */
const LONGEST_MS = 30 * 86_400_000

/**
 * Group offsets against the log's ends. The records' times are on the clock of whoever wrote them, here the shared one.
 * @param nowMs on that clock
 */
export async function readTopicLag(
  admin: Admin,
  { topic, groupId, nowMs }: { topic: string; groupId: string; nowMs: number },
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

/** Kafka tells no record's age, but where in the log a time begins: so it is asked for times, in growing steps and then between two. */
async function findAgeMs(isOlderThan: (ageMs: number) => Promise<boolean>): Promise<number> {
  let low = 0
  let high = FIRST_STEP_MS
  while (high < LONGEST_MS && (await isOlderThan(high))) {
    low = high
    high *= 4
  }
  while (high - low > Math.max(FIRST_STEP_MS, low / 16)) {
    const between = (low + high) / 2
    if (await isOlderThan(between)) low = between
    else high = between
  }
  return high
}

/** Right after a topic was made its broker may not lead it yet; kafkajs gives up at the first such answer. */
async function fetchEnds(admin: Admin, topic: string) {
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
