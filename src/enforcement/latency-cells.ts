import { bucketSql, CLASS_BUCKET } from './latency-buckets.js'
import { literalSql, type Sql, sql } from './sql-fragment.js'
import type { Stage } from './stages.js'

/** Only in queries, never stored: a folded hour has nothing pending. */
export const PENDING_BUCKET = -6

/**
 * What a histogram measures, and how that is written in `latency_histograms.stage`: `received` is the time to
 * revoke, `received/source` the delay before the hub, `received/hub` the hub's own part of the same samples.
 */
export const PARTS = ['value', 'source', 'hub'] as const
export type Part = (typeof PARTS)[number]

export function storedStage(stage: Stage, part: Part): string {
  return part === 'value' ? stage : `${stage}/${part}`
}

/**
 * Samples counted into buckets, as a select of (stage, stream_id, receiver_id, type, source_id, bucket, n, max_ms).
 * Needs `samples` of sample-sql.ts in the same statement.
 */
export function cellsSql(stage: Stage): Sql {
  const cell = (part: Part, bucket: Sql, ms: string, where: string): Sql => sql`
    select ${literalSql(`'${storedStage(stage, part)}'`)} as stage, stream_id, receiver_id, type, source_id,
        ${bucket} as bucket, count(*) as n, max(${literalSql(ms)}) as max_ms
      from samples where ${literalSql(where)} group by 2, 3, 4, 5, 6`
  const counted = `class in ('resolved', 'pending', 'outstanding')`
  return sql`
    ${cell('value', classBucketSql, 'ms', 'true')}
    union all ${cell('source', bucketSql('source_delay_ms'), 'source_delay_ms', `${counted} and source_delay_ms is not null`)}
    union all ${cell('hub', bucketSql('hub_ms'), 'hub_ms', `${counted} and hub_ms is not null`)}`
}

const classBucketSql = sql`case class
    when 'resolved' then ${bucketSql('ms')}
    when 'pending' then ${literalSql(String(PENDING_BUCKET))}
    when 'outstanding' then ${literalSql(String(CLASS_BUCKET.open))}
    when 'not_applicable' then ${literalSql(String(CLASS_BUCKET.not_applicable))}
    when 'superseded' then ${literalSql(String(CLASS_BUCKET.superseded))}
    when 'paused' then ${literalSql(String(CLASS_BUCKET.paused))}
    when 'deleted' then ${literalSql(String(CLASS_BUCKET.deleted))}
  end`
