/**
 * For `mocha --require` in a mutation run. Stryker credits whatever runs between two tests (the hooks of a suite, a
 * worker in the background) to the test before it, which is often of another suite, and then tries a mutant there with
 * a test that never reaches it. Here it is credited to every test of the suite that comes next.
 */
const BETWEEN = 'between tests'

/** What Stryker keeps in the process; there is a current test only while it looks which test reaches what. */
const stryker = () => globalThis.__stryker__
/** Outermost suite of a test -> mutants reached between its tests. */
const reached = new Map()
let isLooking = false

const outermost = (suite) => (suite.parent && !suite.parent.root ? outermost(suite.parent) : suite)

function add(counts, more = {}) {
  for (const [mutant, count] of Object.entries(more)) counts[mutant] = (counts[mutant] ?? 0) + count
}

function creditTo(suite) {
  const { perTest } = stryker().mutantCoverage
  const counts = reached.get(suite) ?? {}
  add(counts, perTest[BETWEEN])
  reached.set(suite, counts)
  delete perTest[BETWEEN]
}

export const mochaHooks = {
  beforeAll() {
    isLooking = stryker()?.mutantCoverage !== undefined && stryker().activeMutant === undefined
    if (isLooking) stryker().currentTestId = BETWEEN
  },
  beforeEach() {
    if (isLooking) creditTo(outermost(this.currentTest.parent))
  },
  afterEach() {
    if (isLooking) stryker().currentTestId = BETWEEN
  },
  afterAll() {
    if (!isLooking) return
    const { perTest } = stryker().mutantCoverage
    for (const [suite, counts] of reached) {
      suite.eachTest((test) => {
        perTest[test.fullTitle()] ??= {}
        add(perTest[test.fullTitle()], counts)
      })
    }
    delete perTest[BETWEEN]
    stryker().currentTestId = undefined
    isLooking = false
  },
}
