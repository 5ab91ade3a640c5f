import { createSsfHarness, type SsfHarness } from '../streams/ssf-harness.js'
import { isMutationRun } from '../support/mutation.js'
import { sharedTwoHubs } from '../support/two-hubs.js'

type SsfOverrides = Parameters<typeof createSsfHarness>[0]

export interface SsfPlace {
  /** A receiver's calls, and what stands in the database. Settings of its own only for tests of `itInside`. */
  open(overrides?: SsfOverrides): Promise<SsfHarness>
  /** In this process, where the log and the owner of a stream are in the test's hand. */
  readonly isInside: boolean
  /** For tests that need that, or other settings. */
  readonly itInside: (title: string, body: Mocha.AsyncFunc) => void
}

const INSIDE: SsfPlace = {
  open: createSsfHarness,
  isInside: true,
  itInside: (title, body) => void it(title, body),
}

/** Two processes behind one address, each request to the other of them. */
const TWO_HUBS: SsfPlace = {
  async open() {
    return await createSsfHarness({}, await sharedTwoHubs())
  },
  isInside: false,
  itInside() {},
}

/** The same suite on the room in this process, and on two hub processes behind one address. */
export function describeSsf(title: string, suite: (place: SsfPlace) => void): void {
  describe(title, () => suite(INSIDE))
  if (isMutationRun) return
  describe(`${title}, two hubs behind one address`, function () {
    this.timeout(120_000)
    suite(TWO_HUBS)
  })
}
