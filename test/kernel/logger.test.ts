import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { describeError, InvalidRequest } from '../../src/kernel/errors.js'

const script = (options: object, call: string) => `
  import { createLogger } from ${JSON.stringify(new URL('../../src/kernel/logger.js', import.meta.url).href)}
  const log = createLogger(${JSON.stringify(options)})
  ${call}
`
const run = (options: object, call: string) =>
  spawnSync(process.execPath, ['--input-type=module', '-e', script(options, call)], { encoding: 'utf8' })

describe('logger', () => {
  it('writes one JSON line per unit of work, to standard error', () => {
    const { stdout, stderr } = run(
      { level: 'info', format: 'json' },
      `log.info('delivery.attempted', { text: 'two\\nlines' }); log.debug('unseen.line')`,
    )
    assert.equal(stdout, '')
    const lines = stderr.trim().split('\n')
    assert.equal(lines.length, 1)
    const line = JSON.parse(lines[0] as string) as Record<string, unknown>
    assert.equal(line.message, 'delivery.attempted')
    assert.equal(line.level, 'info')
    assert.equal(line.text, 'two\nlines')
  })

  it('colours only when told to', () => {
    const call = `log.warn('lease.lost', { unit: 3 })`
    const plain = run({ level: 'info', format: 'pretty' }, call).stderr
    assert.ok(!plain.includes('\u001b') && plain.includes('lease.lost') && plain.includes('unit=3'))
    assert.ok(run({ level: 'info', format: 'pretty', colour: true }, call).stderr.includes('\u001b'))
  })
})

describe('errors', () => {
  it('describe themselves for the log with the detail that callers do not see', () => {
    const error = new InvalidRequest('Send a name.', { detail: 'column name is null' })
    assert.equal(describeError(error), 'Send a name. (column name is null)')
    assert.equal(describeError(new AggregateError([new Error('a'), new Error('b')], '')), 'a; b')
    assert.equal(describeError('text'), 'text')
  })
})
