/** Nearest rank: the smallest value that at least this share of all values does not exceed. NaN of nothing. */
export function quantile(sorted: ArrayLike<number>, share: number): number {
  if (sorted.length === 0) return Number.NaN
  const rank = Math.ceil(share * sorted.length)
  return sorted[Math.min(sorted.length, Math.max(1, rank)) - 1] as number
}

/** The middle value, or the mean of the two in the middle. NaN of nothing. */
export function median(values: readonly number[]): number {
  if (values.length === 0) return Number.NaN
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  const upper = sorted[middle] as number
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] as number) + upper) / 2
}

/**
 * The middle of the quotients of neighbours. Each pair was measured within the same minute, so what else the
 * machine did then touches both sides; a quotient of two medians would mix minutes.
 */
export function medianRatio(pairs: readonly (readonly [over: number, under: number])[]): number {
  return median(pairs.filter(([, under]) => under > 0).map(([over, under]) => over / under))
}
