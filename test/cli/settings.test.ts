import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { tmpdir } from 'node:os'
import { fileURLToPath } from 'node:url'

const ENTRY = fileURLToPath(new URL('../../src/main.js', import.meta.url))

/** The whole program, with these settings and no hub. */
function run(words: string[], settings: Record<string, string>) {
  const environment = { PATH: process.env.PATH, DATA_DIR: '/nonexistent', ...settings }
  const child = spawnSync(process.execPath, [ENTRY, ...words], {
    cwd: tmpdir(),
    env: environment,
    encoding: 'utf8',
  })
  return { code: child.status, out: child.stdout, err: child.stderr }
}

describe('wrong settings', function () {
  this.timeout(30_000)

  it('keep nobody from help and version', () => {
    assert.equal(run(['--help'], { PORT: 'x', FIREBREAK_URL: 'hub' }).code, 0)
    assert.match(run(['--version'], { PORT: 'x', FIREBREAK_TYPO: '1' }).out, /^\d+\.\d+\.\d+\n$/)
  })

  it('end a client command with 2 when they are its own, and are nothing to it otherwise', () => {
    const own = run(['receiver', 'list'], { FIREBREAK_URL: 'hub' })
    assert.deepEqual([own.code, own.out], [2, ''])
    assert.match(own.err, /FIREBREAK_URL: write the hub’s URL/)
    const other = run(['receiver', 'list'], { PORT: 'x', FIREBREAK_URL: 'http://127.0.0.1:1' })
    assert.equal(other.code, 3)
  })

  it('end serve and config with 1', () => {
    for (const command of ['serve', 'config']) {
      const outcome = run([command], { PORT: 'x' })
      assert.deepEqual([outcome.code, outcome.out], [1, ''])
      assert.match(outcome.err, /^firebreak: The settings are not valid:\n {2}PORT: /)
    }
  })
})
