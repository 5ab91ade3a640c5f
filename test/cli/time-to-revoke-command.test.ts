import assert from 'node:assert/strict'
import { hooksFor, type Outcome, runWords } from './run-words.js'
import { startScriptedHub } from './scripted-hub.js'

const ROW = {
  count: 10,
  pending: 0,
  outstanding: 0,
  p50_ms: 8.25,
  p90_ms: 40,
  p99_ms: 1900.4,
  max_ms: 2000,
  not_applicable: 1,
  superseded: 2,
  paused: 3,
  deleted: 4,
}

async function ask(rows: object[], words: string[]): Promise<Outcome & { line: string }> {
  const hub = await startScriptedHub({ 'GET /v1/time-to-revoke': { body: { items: rows } } })
  const outcome = await runWords(['time-to-revoke', ...words], { hooks: hooksFor(hub.url) })
  await hub.close()
  return { ...outcome, line: hub.seen[0]?.line ?? '' }
}

describe('firebreak time-to-revoke', () => {
  it('asks for the window, the stage and the groups, and shows a row per group', async () => {
    const row = { ...ROW, point: { id: 'r1', name: 'gateway' }, stream_id: 's1' }
    const words = [
      '--from',
      '2026-01-01',
      '--to',
      '2026-01-02',
      '--stage',
      'received',
      '--group-by',
      'point,stream',
    ]
    const outcome = await ask([row], words)
    assert.equal(
      outcome.line,
      'GET /v1/time-to-revoke?from=2026-01-01T00%3A00%3A00.000Z&to=2026-01-02T00%3A00%3A00.000Z&stage=received&group_by=point%2Cstream',
    )
    assert.match(outcome.out, /POINT\s+STREAM\s+EXPECTED\s+PENDING\s+OUTSTANDING\s+P50 MS/)
    assert.match(outcome.out, /N\/A\s+SUPERSEDED\s+PAUSED\s+DELETED\n/)
    assert.match(outcome.out, /gateway\s+s1\s+10\s+0\s+0\s+8\.3\s+40\s+1900\s+2000\s+1\s+2\s+3\s+4\n/)
    assert.equal(outcome.code, 0)
  })

  it('shows a quantile among the outstanding ones as infinite', async () => {
    const outcome = await ask([{ ...ROW, outstanding: 3, p99_ms: null, max_ms: null }], [])
    assert.match(outcome.out, /\s∞\s+∞\s/)
    assert.match(outcome.line, /stage=received/)
  })

  it('shows the maximum as infinite while anything is outstanding, and leaves the API body as it is', async () => {
    const row = { ...ROW, outstanding: 1 }
    assert.match((await ask([row], [])).out, /1900\s+∞\s+1\s/)
    assert.deepEqual(JSON.parse((await ask([row], ['--json'])).out), { items: [row] })
  })

  const OBJECTIVES: [string, object[], number][] = [
    ['keeps it when p99 is below', [ROW], 0],
    ['misses it when one row is above', [ROW, { ...ROW, p99_ms: 2000.1 }], 4],
    ['misses it when p99 never came', [{ ...ROW, p99_ms: null, outstanding: 1 }], 4],
    ['keeps it while all are younger than the deadline', [{ ...ROW, p99_ms: null, pending: 10 }], 0],
  ]
  for (const [title, rows, code] of OBJECTIVES) {
    it(`--slo 2000 ${title}: exit ${code}`, async () => {
      const outcome = await ask(rows, ['--slo', '2000', '--json'])
      assert.equal(outcome.code, code)
      assert.deepEqual(JSON.parse(outcome.out), { items: rows })
      assert.equal(/objective was missed/.test(outcome.err), code === 4)
    })
  }

  it('says that an objective without any expected revocation was not tested', async () => {
    const outcome = await ask([{ ...ROW, count: 0, p99_ms: null }], ['--slo', '2000'])
    assert.match(outcome.err, /not tested/)
    assert.equal(outcome.code, 0)
  })
})
