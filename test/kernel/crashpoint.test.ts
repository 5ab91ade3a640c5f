import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import { CRASHPOINTS, crashpoint, readCrashpoint } from '../../src/kernel/crashpoint.js'

const MODULE = new URL('../../src/kernel/crashpoint.js', import.meta.url).href

/** A process that arms a point, passes one five times and tells of each pass. */
async function passing(armed: string, passed: string): Promise<{ signal: string | null; passes: number }> {
  const script = `
    import { armCrashpoint, crashpoint, readCrashpoint } from ${JSON.stringify(MODULE)}
    import { writeSync } from 'node:fs'
    armCrashpoint(readCrashpoint(${JSON.stringify(armed)}))
    for (let pass = 1; pass <= 5; pass += 1) { crashpoint(${JSON.stringify(passed)}); writeSync(1, '.') }
  `
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const [[, signal], dots] = await Promise.all([once(child, 'exit'), text(child.stdout)])
  return { signal: signal as string | null, passes: dots.length }
}

describe('crashpoint', () => {
  it('does nothing while none is armed', () => {
    for (const point of CRASHPOINTS) crashpoint(point)
  })

  it('ends the process by SIGKILL at the n-th pass', async () => {
    assert.deepEqual(await passing('push.answered:3', 'push.answered'), { signal: 'SIGKILL', passes: 2 })
  })

  it('counts no pass of another point', async () => {
    assert.deepEqual(await passing('push.answered:3', 'push.sending'), { signal: null, passes: 5 })
  })

  it('reads a name and a number, and nothing else', () => {
    assert.deepEqual(readCrashpoint('ingest.stored:12'), { name: 'ingest.stored', pass: 12 })
    for (const bad of [
      '',
      'ingest.stored',
      'ingest.stored:',
      'ingest.stored:0',
      'ingest.stored:1.5',
      'other:1',
    ]) {
      assert.equal(readCrashpoint(bad), undefined, bad)
    }
  })
})
