import { type Database, sqlRows } from '../storage/database.js'
import type { SubjectIndex } from './subject-index.js'

export type SubjectMode = 'added' | 'removed'

export interface SubjectEntry {
  index: SubjectIndex
  mode: SubjectMode
  /** The canonical subject, sealed under `subjectContext(streamId)`. */
  sealed: Buffer
  verified: boolean
}

/** Binds a sealed subject to its stream. */
export function subjectContext(streamId: string): string {
  return `stream:${streamId}:subject`
}

/** Sole writer of `stream_subjects`. Each method answers by how many rows the stream's count changed. */
export function createSubjectRepository(db: Database) {
  return {
    async save(streamId: string, entry: SubjectEntry): Promise<number> {
      const rows = await sqlRows<{ inserted: boolean }>(
        db,
        `insert into stream_subjects (stream_id, complex_hash, mode, subject_wrapped, verified, member, match_hash)
         select ?::uuid, ?::bytea, ?::text, ?::bytea, ?::boolean, k.member, k.hash
         from unnest(?::text[], ?::bytea[]) as k (member, hash)
         on conflict (match_hash, stream_id, complex_hash) do update set
           verified = excluded.verified,
           -- A removal that is repeated does not begin its grace again.
           changed_at = case when stream_subjects.mode = excluded.mode then stream_subjects.changed_at else now() end,
           mode = excluded.mode
         returning xmax = 0 as inserted`,
        [
          streamId,
          entry.index.complexHash,
          entry.mode,
          entry.sealed,
          entry.verified,
          entry.index.rows.map((row) => row.member),
          entry.index.rows.map((row) => row.hash),
        ],
      )
      return rows.filter((row) => row.inserted).length
    },

    /**
     * The most rows that one of these keys has in the stream, counted no further than `limit` + 1. Matching an event
     * looks at each of them, so many complex subjects that share one member cost every lane.
     */
    async mostPerKey(streamId: string, index: SubjectIndex, limit: number): Promise<number> {
      const rows = await sqlRows<{ most: number | null }>(
        db,
        `select max(held.subjects)::int as most from unnest(?::bytea[]) as k (hash) cross join lateral (
           select count(*) as subjects from (
             select 1 from stream_subjects where match_hash = k.hash and stream_id = ? limit ?
           ) counted
         ) held`,
        [index.rows.map((row) => row.hash), streamId, limit + 1],
      )
      return rows[0]?.most ?? 0
    },

    async delete(streamId: string, index: SubjectIndex): Promise<number> {
      const rows = await sqlRows(
        db,
        `delete from stream_subjects
         where stream_id = ? and complex_hash = ? and match_hash = any(?::bytea[]) returning 1`,
        [streamId, index.complexHash, index.rows.map((row) => row.hash)],
      )
      return -rows.length
    },

    /** Marks an added subject as removed, for as long as its grace lasts. Nothing when it was never added. */
    async retire(streamId: string, index: SubjectIndex): Promise<number> {
      await sqlRows(
        db,
        `update stream_subjects set mode = 'removed', changed_at = now()
         where stream_id = ? and complex_hash = ? and match_hash = any(?::bytea[]) and mode = 'added'`,
        [streamId, index.complexHash, index.rows.map((row) => row.hash)],
      )
      return 0
    },

    /** Forgets removed subjects whose grace is over, where only added ones count. */
    async deleteRetired(streamId: string, graceS: number): Promise<number> {
      const rows = await sqlRows(
        db,
        `delete from stream_subjects where stream_id = ? and mode = 'removed'
           and changed_at <= now() - make_interval(secs => ?) returning 1`,
        [streamId, graceS],
      )
      return -rows.length
    },
  }
}
