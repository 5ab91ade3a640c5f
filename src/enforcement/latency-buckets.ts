import { literalSql, type Sql } from './sql-fragment.js'

/**
 * Logarithmic buckets, 8 per octave: bucket b holds durations over 2^((b-1)/8) and up to 2^(b/8) microseconds,
 * so answering the upper bound is at most 9 % too high, from a microsecond to years.
 */
export const BUCKETS_PER_OCTAVE = 8

/** Cells that hold no duration. Their numbers are in the comment of `latency_histograms.bucket`. */
export const CLASS_BUCKET = { open: -1, not_applicable: -2, superseded: -3, paused: -4, deleted: -5 } as const

/** The bucket of a duration, given as an SQL expression of ms (not negative). */
export function bucketSql(ms: string): Sql {
  return literalSql(
    `greatest(0, ceil(${BUCKETS_PER_OCTAVE} * ln(greatest((${ms}) * 1000, 1)) / ln(2::float8)))::smallint`,
  )
}

/** The upper bound of a bucket in ms. */
export function bucketUpperMs(bucket: number): number {
  return 2 ** (bucket / BUCKETS_PER_OCTAVE) / 1000
}
