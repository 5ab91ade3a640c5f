import assert from 'node:assert/strict'
import { setImmediate as turn } from 'node:timers/promises'
import { readTopicLags } from '../../src/eventlog/kafka-lag.js'

const NOW_MS = Date.UTC(2026, 10, 22)

/** Answers from a list of ages, and counts questions, and how often somebody waits for answers one after another. */
function askedAdmin(agesS: readonly number[]) {
  let waits = 0
  let questions = 0
  let answered: Promise<void> | undefined
  async function answer<T>(value: T): Promise<T> {
    questions += 1
    answered ??= answerAll()
    await answered
    return value
  }
  async function answerAll(): Promise<void> {
    waits += 1
    // All that is asked at once is asked by then.
    for (let turns = 0; turns < 5; turns += 1) await turn()
    answered = undefined
  }
  const end = String(agesS.length)
  const place = { partition: 0, offset: end, high: end, low: '0' }
  return {
    waits: () => waits,
    questions: () => questions,
    fetchTopicOffsets: () => answer([place]),
    fetchOffsets: ({ topics = [] }: { topics?: unknown[] }) =>
      answer(topics.map((topic) => ({ topic: String(topic), partitions: [] }))),
    fetchTopicOffsetsByTimestamp: (_topic: string, ms = 0) => {
      const found = agesS.findIndex((ageS) => NOW_MS - ageS * 1_000 >= ms)
      return answer([{ partition: 0, offset: found < 0 ? end : String(found) }])
    },
  }
}

describe('the lag of topics', () => {
  const lanes = ['control', 'urgent', 'routine'].map((lane) => ({ topic: lane, groupId: `group ${lane}` }))

  it('takes three questions about a lane that is read as it comes', async () => {
    for (const some of [lanes.slice(0, 1), lanes]) {
      const admin = askedAdmin([0.9, 0])
      await readTopicLags(admin, some, NOW_MS)
      assert.deepEqual([admin.questions(), admin.waits()], [3 * some.length, 3])
    }
  })

  it('takes few questions, and few waits for all lanes together, whatever the age', async () => {
    for (const ageS of [1, 70, 4_000, 2_000_000, 20_000_000]) {
      for (const some of [lanes.slice(0, 1), lanes]) {
        const admin = askedAdmin([ageS, 0])
        await readTopicLags(admin, some, NOW_MS)
        const said = `${admin.questions()} questions, ${admin.waits()} waits at ${ageS} s for ${some.length}`
        assert.ok(admin.questions() <= 13 * some.length && admin.waits() <= 7, said)
      }
    }
  })

  it('has the age of the oldest, up to a second or an eighth too much', async () => {
    for (const ageS of [0, 0.5, 1, 1.1, 3.9, 4.1, 59, 61, 900, 4_000, 86_400, 2_500_000]) {
      const [lag] = await readTopicLags(askedAdmin([ageS, ageS / 2]), lanes.slice(0, 1), NOW_MS)
      const { records, oldestAgeS = -1 } = lag ?? {}
      assert.equal(records, 2)
      assert.ok(
        oldestAgeS >= ageS && oldestAgeS <= Math.max(ageS + 1, ageS * 1.125),
        `${oldestAgeS} for ${ageS}`,
      )
    }
  })
})
