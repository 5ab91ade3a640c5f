import { LANES, type Lane } from '../secevent/event.js'
import { type Claim, createLaneIntake, type LaneIntake, type LaneIntakeDeps } from './lane-intake.js'
import type { LanePage } from './queue-repository.js'

type OfOneLane = 'claim' | 'nextTryMs' | 'onFault' | 'onMended'

export interface LaneIntakesDeps extends Omit<LaneIntakeDeps, OfOneLane> {
  claim(page: LanePage & { readonly limit: number }): Promise<Claim>
  nextTryMs(page: LanePage): Promise<number | undefined>
  /** The stream, so that only notices are asked for. */
  isStopped(): boolean
  onFault(lane: Lane, error: unknown): void
  onMended(lane: Lane): void
}

/** Where the SETs of one stream come from, in all its lanes. */
export interface LaneIntakes {
  readonly of: Readonly<Record<Lane, LaneIntake>>
  spill(): void
  /** Of one lane at least. */
  needClaim(): boolean
  areClaiming(): boolean
  /** Rows that wait for claims under way. */
  buffered(): number
}

export function createLaneIntakes(deps: LaneIntakesDeps): LaneIntakes {
  const of = {} as Record<Lane, LaneIntake>
  for (const lane of LANES) {
    const pageOf = (inHand: readonly string[]): LanePage => ({ lane, inHand, noticesOnly: deps.isStopped() })
    of[lane] = createLaneIntake({
      ...deps,
      claim: (limit, inHand) => deps.claim({ ...pageOf(inHand), limit }),
      nextTryMs: (inHand) => deps.nextTryMs(pageOf(inHand)),
      onFault: (error) => deps.onFault(lane, error),
      onMended: () => deps.onMended(lane),
    })
  }
  const all = Object.values(of)
  return {
    of,
    spill() {
      for (const intake of all) intake.spill()
    },
    needClaim: () => all.some((intake) => intake.needsClaim()),
    areClaiming: () => all.some((intake) => intake.isClaiming()),
    buffered: () => all.reduce((sum, intake) => sum + intake.buffered(), 0),
  }
}
