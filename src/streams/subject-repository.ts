import { type Database, sqlRows } from '../storage/database.js'
import {
  type CombinedKey,
  combinedKeys,
  type SubjectIndex,
  type SubjectKey,
  textArrayLiteral,
} from './subject-index.js'

export type SubjectMode = 'added' | 'removed'

export interface SubjectEntry {
  index: SubjectIndex
  mode: SubjectMode
  /** The canonical subject, sealed under `subjectContext(streamId)`. */
  sealed: Buffer
  verified: boolean
}

export interface StoredSubject {
  readonly streamId: string
  readonly matchHash: Buffer
  readonly complexHash: Buffer
  /** Empty once erased. */
  readonly sealed: Buffer
}

/** A row's place in the order of all, hashes in hex. */
export interface SubjectPlace {
  readonly match: string
  readonly stream: string
  readonly complex: string
}

const BEFORE_ALL: SubjectPlace = { match: '', stream: '00000000-0000-0000-0000-000000000000', complex: '' }

export const placeOf = ({ matchHash, streamId, complexHash }: StoredSubject): SubjectPlace => ({
  match: matchHash.toString('hex'),
  stream: streamId,
  complex: complexHash.toString('hex'),
})

/** By how many subjects of each mode a combined key's row changes. */
type Shift = Record<SubjectMode, number>

/** Removed subjects forgotten at one call. */
const RETIRED_PAGE = 1_000

/** Binds a sealed subject to its stream. */
export function subjectContext(streamId: string): string {
  return `stream:${streamId}:subject`
}

/**
 * Sole writer of `stream_subjects` and `complex_subject_keys`. What adds and removes needs the stream locked by the
 * transaction, and answers by how much the stream's count changed.
 */
export function createSubjectRepository(db: Database) {
  return {
    /** Subjects of all streams, in the order of their places. */
    async page(after: SubjectPlace | undefined, limit: number): Promise<StoredSubject[]> {
      const from = after ?? BEFORE_ALL
      const rows = await sqlRows<{
        match_hash: Buffer
        stream_id: string
        complex_hash: Buffer
        subject_wrapped: Buffer
      }>(
        db,
        `select match_hash, stream_id, complex_hash, subject_wrapped from stream_subjects
         where (match_hash, stream_id, complex_hash) > (decode(?, 'hex'), ?::uuid, decode(?, 'hex'))
         order by match_hash, stream_id, complex_hash limit ?`,
        [from.match, from.stream, from.complex, limit],
      )
      return rows.map((row) => ({
        streamId: row.stream_id,
        matchHash: row.match_hash,
        complexHash: row.complex_hash,
        sealed: row.subject_wrapped,
      }))
    },

    /** Takes what is sealed; the hashes stay, so events still find the stream. */
    async eraseSealed(subjects: readonly StoredSubject[]): Promise<void> {
      await sqlRows(
        db,
        `update stream_subjects s set subject_wrapped = ''
         from unnest(?::bytea[], ?::uuid[], ?::bytea[]) as t (match_hash, stream_id, complex_hash)
         where s.match_hash = t.match_hash and s.stream_id = t.stream_id and s.complex_hash = t.complex_hash`,
        [
          subjects.map((subject) => subject.matchHash),
          subjects.map((subject) => subject.streamId),
          subjects.map((subject) => subject.complexHash),
        ],
      )
    },

    async save(streamId: string, entry: SubjectEntry): Promise<number> {
      const { index, mode } = entry
      const before = await indexedMode(db, streamId, index)
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
          index.complexHash,
          mode,
          entry.sealed,
          entry.verified,
          index.rows.map((row) => row.member),
          index.rows.map((row) => row.hash),
        ],
      )
      if (before !== mode) {
        const left = before ? { [before]: -1 } : {}
        await shiftKeys(db, streamId, alike(index.combined, { added: 0, removed: 0, ...left, [mode]: 1 }))
      }
      return costOf(rows.filter((row) => row.inserted).length)
    },

    /**
     * The most rows that one combination of these members has in the stream, counted no further than `limit` + 1.
     * Matching an event looks at each of them.
     */
    async mostPerKey(streamId: string, index: SubjectIndex, limit: number): Promise<number> {
      if (index.combined.length === 0) return 0
      const rows = await sqlRows<{ most: number }>(
        db,
        `select max(held.rows)::int as most from unnest(?::bytea[]) as k (hash) cross join lateral (
           select count(*) as rows from (
             select 1 from complex_subject_keys where match_hash = k.hash and stream_id = ? limit ?
           ) counted
         ) held`,
        [index.combined.map((key) => key.hash), streamId, limit + 1],
      )
      return rows[0]?.most ?? 0
    },

    async delete(streamId: string, index: SubjectIndex): Promise<number> {
      const rows = await sqlRows<{ mode: SubjectMode }>(
        db,
        `delete from stream_subjects
         where stream_id = ? and complex_hash = ? and match_hash = any(?::bytea[]) returning mode`,
        [streamId, index.complexHash, index.rows.map((row) => row.hash)],
      )
      const mode = rows[0]?.mode
      if (mode) await shiftKeys(db, streamId, alike(index.combined, { added: 0, removed: 0, [mode]: -1 }))
      return -costOf(rows.length)
    },

    /** Marks an added subject as removed, for as long as its grace lasts. Nothing when it was never added. */
    async retire(streamId: string, index: SubjectIndex): Promise<number> {
      const rows = await sqlRows(
        db,
        `update stream_subjects set mode = 'removed', changed_at = now()
         where stream_id = ? and complex_hash = ? and match_hash = any(?::bytea[]) and mode = 'added' returning 1`,
        [streamId, index.complexHash, index.rows.map((row) => row.hash)],
      )
      if (rows.length > 0) await shiftKeys(db, streamId, alike(index.combined, { added: -1, removed: 1 }))
      return 0
    },

    /** Forgets a page of removed subjects whose grace is over, where only added ones count. */
    async deleteRetired(streamId: string, graceS: number): Promise<number> {
      const rows = await sqlRows<{ complex_hash: Buffer; member: string; match_hash: Buffer }>(
        db,
        `with page as materialized (
           select complex_hash, match_hash from stream_subjects where stream_id = ? and mode = 'removed'
             and changed_at <= now() - make_interval(secs => ?) limit ?
         )
         delete from stream_subjects where stream_id = ? and mode = 'removed' and (
           (complex_hash = '' and match_hash in (select match_hash from page where complex_hash = ''))
           -- All members of a subject, wherever the page ended.
           or complex_hash in (select complex_hash from page where complex_hash <> '')
         ) returning complex_hash, member, match_hash`,
        [streamId, graceS, RETIRED_PAGE, streamId],
      )
      const subjects = new Map<string, SubjectKey[]>()
      let freed = 0
      for (const row of rows) {
        const whole = row.complex_hash.toString('base64')
        if (whole === '') freed += 1
        else
          subjects.set(whole, [...(subjects.get(whole) ?? []), { member: row.member, hash: row.match_hash }])
      }
      for (const members of subjects.values()) freed += costOf(members.length)
      const keys = [...subjects.values()].flatMap(combinedKeys)
      await shiftKeys(db, streamId, alike(keys, { added: 0, removed: -1 }))
      return -freed
    },
  }
}

/** What a subject counts: half of the rows by which it is found, so that many members cost what they take. */
function costOf(rows: number): number {
  return rows === 0 ? 0 : 2 ** (rows - 1)
}

/** The mode in which a complex subject is found; the row of all its members is its own. */
async function indexedMode(
  db: Database,
  streamId: string,
  { combined: [whole] }: SubjectIndex,
): Promise<SubjectMode | undefined> {
  if (!whole) return undefined
  const [row] = await sqlRows<{ added: number }>(
    db,
    `select added from complex_subject_keys where match_hash = ? and stream_id = ? and rest = '{}'`,
    [whole.hash, streamId],
  )
  if (!row) return undefined
  return row.added > 0 ? 'added' : 'removed'
}

/** One shift for each key; keys of several subjects may be the same one. */
function alike(keys: readonly CombinedKey[], { added, removed }: Shift): Map<string, CombinedKey & Shift> {
  const shifts = new Map<string, CombinedKey & Shift>()
  for (const key of keys) {
    const id = `${key.hash.toString('base64')} ${JSON.stringify(key.rest)}`
    const known = shifts.get(id) ?? { ...key, added: 0, removed: 0 }
    shifts.set(id, { ...known, added: known.added + added, removed: known.removed + removed })
  }
  return shifts
}

/** Counts subjects in and out of the rows by which they are found, and drops rows that stand for none. */
async function shiftKeys(
  db: Database,
  streamId: string,
  shifts: ReadonlyMap<string, CombinedKey & Shift>,
): Promise<void> {
  if (shifts.size === 0) return
  const keys = [...shifts.values()]
  const hashes = keys.map((key) => key.hash)
  await sqlRows(
    db,
    `with k as materialized (
       select ?::uuid as stream_id, hash, rest::text[] as rest, added, removed
       from unnest(?::bytea[], ?::text[], ?::int[], ?::int[]) as k (hash, rest, added, removed)
     ), counted as (
       update complex_subject_keys x set added = greatest(0, x.added + k.added),
         removed = greatest(0, x.removed + k.removed),
         removed_at = case when k.removed > 0 then now() else x.removed_at end
       from k where x.match_hash = k.hash and x.stream_id = k.stream_id and x.rest = k.rest
     )
     insert into complex_subject_keys (match_hash, stream_id, rest, added, removed, removed_at)
     select hash, stream_id, rest, greatest(0, added), greatest(0, removed), case when removed > 0 then now() end
     from k where added > 0 or removed > 0
     on conflict do nothing`,
    [
      streamId,
      hashes,
      keys.map((key) => textArrayLiteral(key.rest)),
      keys.map((key) => key.added),
      keys.map((key) => key.removed),
    ],
  )
  if (keys.every((key) => key.added >= 0 && key.removed >= 0)) return
  await sqlRows(
    db,
    `delete from complex_subject_keys
     where stream_id = ? and match_hash = any(?::bytea[]) and added = 0 and removed = 0`,
    [streamId, hashes],
  )
}
