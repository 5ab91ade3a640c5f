import { describeError } from '../kernel/errors.js'
import type { Logger } from '../kernel/logger.js'
import type { Database } from '../storage/database.js'
import { queueRepository } from './queue-repository.js'

export interface OpenWorkOptions {
  /** Looks are for all lanes, so by a pool that waits for none of them. */
  readonly db: Database
  readonly logger: Logger
  isOwned(shard: number): boolean
  /** The stream has open work. */
  found(streamId: string, shard: number): void
}

/** Finds the push streams of a process's shards that are owed something. */
export interface OpenWork {
  /** All that is open of shards just gained, however old; a look that fails is made up for by `lookAgain`. */
  look(shards: readonly number[]): Promise<void>
  /** Somebody says that there is new work. Hints gather while the query for the ones before is under way. */
  hint(shards: readonly number[]): void
  /** Behind the hints, every few seconds: what fell due, and what no look has seen as a whole. */
  lookAgain(owned: readonly number[]): void
}

/** Three rounds of `lookAgain` see each row that falls due. */
const BACK_S = 15

export function createOpenWork(options: OpenWorkOptions): OpenWork {
  const { logger, isOwned, found } = options
  const hinted = new Set<number>()
  /** Shards whose open work was not seen as a whole since they were gained. */
  const unseen = new Set<number>()
  let following = false
  /** Under way. */
  let looks = 0

  async function load(shards: readonly number[], dueWithinS?: number): Promise<boolean> {
    if (shards.length === 0) return true
    try {
      const work = await queueRepository.streamsWithWork(options.db, shards, dueWithinS)
      for (const { streamId, shard } of work) if (isOwned(shard)) found(streamId, shard)
      return true
    } catch (error) {
      logger.warn('shards.load_failed', { shards: shards.length, reason: describeError(error) })
      return false
    }
  }

  async function look(shards: readonly number[]): Promise<void> {
    for (const shard of shards) unseen.add(shard)
    looks += 1
    if (await load(shards)) for (const shard of shards) unseen.delete(shard)
    looks -= 1
  }

  async function follow(): Promise<void> {
    following = true
    while (hinted.size > 0) {
      const shards = [...hinted].filter(isOwned)
      hinted.clear()
      await load(shards, BACK_S)
    }
    following = false
  }

  return {
    look,
    hint(shards) {
      for (const shard of shards) if (isOwned(shard)) hinted.add(shard)
      if (!following) void follow()
    },
    lookAgain(owned) {
      void load(owned, BACK_S)
      const left = [...unseen].filter(isOwned)
      // What is under way may see them.
      if (left.length > 0 && looks === 0) void look(left)
    },
  }
}
