/** How far a revocation came at one point; each stage proves more than the one before. */
export type Stage = 'received' | 'applied' | 'verified'
export const STAGES: readonly Stage[] = ['received', 'applied', 'verified']

/** Bits of `expects` in `delivery_queue` and `deliveries`. */
export const STAGE_BIT: Record<Stage, number> = { received: 1, applied: 2, verified: 4 }

/** How long a sample may stay open before it counts as outstanding, i.e. as infinite; ms. */
export type StageDeadlines = Readonly<Record<Stage, number>>
