import fc from 'fast-check'
import type { AccessEffect, Lane } from '../../src/secevent/event.js'

/** One thing that happens; streams and hubs are numbers, taken modulo how many there are. */
export type Step = { readonly gapMs: number } & (
  | {
      readonly kind: 'event'
      readonly subject: number
      /** The same principal by itself, as the user of a complex subject, or among aliases. */
      readonly form: 'plain' | 'complex' | 'aliases'
      readonly effect: AccessEffect
      /** Absent: as the event's type has it. */
      readonly lane: Lane | undefined
      /** The event gets its place in the hub order now and is appended so many steps later. */
      readonly holdSteps: number
      /** `hub`: into the Postgres log, as what the hub decides itself. */
      readonly via: 'log' | 'hub'
      readonly twice: boolean
      readonly hub: number
    }
  | { readonly kind: 'fail'; readonly stream: number; readonly forMs: number }
  | { readonly kind: 'reject'; readonly stream: number; readonly count: number }
  | { readonly kind: 'replay'; readonly hub: number }
  | { readonly kind: 'pause' | 'enable'; readonly stream: number; readonly hub: number }
  | { readonly kind: 'takeover'; readonly hub: number; readonly half: boolean }
  | { readonly kind: 'broker'; readonly forMs: number }
  /** Long enough for memories to run empty: what comes late then meets no trace of what it is older than. */
  | { readonly kind: 'rest'; readonly forMs: number }
)

export interface Plan {
  readonly steps: readonly Step[]
  /** For the choices of receivers: which SETs are acknowledged when, how long an answer takes. */
  readonly receiverSeed: number
}

const gapMs = fc.oneof({ weight: 3, arbitrary: fc.constant(0) }, { weight: 2, arbitrary: fc.nat(12) })
const small = fc.nat(7)

const event = fc.record({
  gapMs,
  kind: fc.constant('event' as const),
  subject: fc.nat(2),
  form: fc.constantFrom('plain' as const, 'plain' as const, 'complex' as const, 'aliases' as const),
  effect: fc.constantFrom<AccessEffect>('tightens', 'tightens', 'loosens', 'loosens', 'loosens', 'neutral'),
  lane: fc.constantFrom<Lane | undefined>(undefined, undefined, undefined, 'control', 'routine'),
  holdSteps: fc.oneof({ weight: 1, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.nat(8) }),
  via: fc.constantFrom('log' as const, 'log' as const, 'log' as const, 'hub' as const),
  twice: fc.nat(9).map((dice) => dice === 0),
  hub: fc.nat(1),
})

const trouble = {
  fail: fc.record({ gapMs, kind: fc.constant('fail' as const), stream: small, forMs: fc.nat(250) }),
  reject: fc.record({
    gapMs,
    kind: fc.constant('reject' as const),
    stream: small,
    count: fc.integer({ min: 1, max: 3 }),
  }),
  replay: fc.record({ gapMs, kind: fc.constant('replay' as const), hub: fc.nat(1) }),
  status: fc.record({
    gapMs,
    kind: fc.constantFrom('pause' as const, 'enable' as const),
    stream: small,
    hub: fc.nat(1),
  }),
  takeover: fc.record({
    gapMs,
    kind: fc.constant('takeover' as const),
    hub: fc.nat(1),
    half: fc.boolean(),
  }),
  rest: fc.record({ gapMs, kind: fc.constant('rest' as const), forMs: fc.integer({ min: 30, max: 100 }) }),
  broker: fc.record({
    gapMs,
    kind: fc.constant('broker' as const),
    forMs: fc.integer({ min: 200, max: 1_000 }),
  }),
}

export function planArbitrary(size: {
  minSteps: number
  maxSteps: number
  broker: boolean
}): fc.Arbitrary<Plan> {
  const step: fc.Arbitrary<Step> = fc.oneof(
    { weight: 60, arbitrary: event },
    { weight: 3, arbitrary: trouble.fail },
    { weight: 4, arbitrary: trouble.reject },
    { weight: 3, arbitrary: trouble.replay },
    { weight: 5, arbitrary: trouble.status },
    { weight: 3, arbitrary: trouble.takeover },
    { weight: 7, arbitrary: trouble.rest },
    { weight: size.broker ? 2 : 0, arbitrary: trouble.broker },
  )
  return fc.record({
    steps: fc.array(step, { minLength: size.minSteps, maxLength: size.maxSteps, size: 'max' }),
    receiverSeed: fc.integer(),
  })
}

/** Numbers from 0 to below 1 that a seed gives again in the same order (mulberry32). */
export function createDice(seed: number): () => number {
  let state = seed | 0
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}
