import { describeError } from '../kernel/errors.js'
import { createGroupCommit } from '../kernel/group-commit.js'
import type { Logger } from '../kernel/logger.js'
import { LANES, type Lane } from '../secevent/event.js'
import type { Database } from '../storage/database.js'
import type { DeliveryResult } from './queue-repository.js'
import { resultRepository } from './result-repository.js'
import { isTransient } from './storage-errors.js'

export type ResultWriters = Readonly<Record<Lane, (result: DeliveryResult) => Promise<void>>>

const RESULT_BATCH = 1_000
/** A stream's next SETs do not wait for these results, so they may gather. */
const REST_MS = 20

/** Results gather while the previous flush is under way: one statement for hundreds of attempts of many streams. */
export function createResultWriters(options: {
  pools: Readonly<Record<Lane, Database>>
  logger: Logger
}): ResultWriters {
  const writers = {} as Record<Lane, (result: DeliveryResult) => Promise<void>>
  for (const lane of LANES) {
    const commit = createGroupCommit<DeliveryResult, void>({
      maxBatch: RESULT_BATCH,
      restMs: REST_MS,
      async flush(results) {
        try {
          await writeApart(options.pools[lane], results)
        } catch (error) {
          options.logger.warn('results.unwritten', {
            lane,
            results: results.length,
            reason: describeError(error),
          })
          throw error
        }
        return results.map(() => undefined)
      },
    })
    writers[lane] = (result) => commit.add(result)
  }
  return writers
}

/** What one receiver said must not keep the results of the others from being written. */
async function writeApart(db: Database, results: readonly DeliveryResult[]): Promise<void> {
  try {
    await resultRepository.write(db, results)
  } catch (error) {
    if (isTransient(error)) throw error
    if (results.length > 1) {
      const middle = results.length >> 1
      await writeApart(db, results.slice(0, middle))
      await writeApart(db, results.slice(middle))
      return
    }
    const plain = results.map((result) => ({ ...result, failure: 'an answer that cannot be stored' }))
    await resultRepository.write(db, plain)
  }
}
