import assert from 'node:assert/strict'
import { InvalidConfig, loadConfig } from '../../src/config/config.js'

function faultsOf(env: NodeJS.ProcessEnv): readonly string[] {
  try {
    loadConfig(env)
  } catch (error) {
    assert.ok(error instanceof InvalidConfig)
    return error.faults
  }
  return assert.fail('the settings were accepted')
}

describe('settings of the fault suite', () => {
  it('break nothing unless they are set', () => {
    const { firebreakTestFaults, firebreakCrashpoint } = loadConfig({})
    assert.deepEqual([firebreakTestFaults, firebreakCrashpoint], [[], undefined])
  })

  it('take a point and the pass at which the hub ends, armed by another setting', () => {
    const config = loadConfig({
      FIREBREAK_TEST_FAULTS: 'crashpoint',
      FIREBREAK_CRASHPOINT: 'push.answered:40',
    })
    assert.deepEqual(config.firebreakTestFaults, ['crashpoint'])
    assert.equal(config.firebreakCrashpoint, 'push.answered:40')
  })

  it('refuse a point that nothing arms', () => {
    assert.match(faultsOf({ FIREBREAK_CRASHPOINT: 'push.answered:1' }).join(), /^FIREBREAK_CRASHPOINT: /)
    const env = { FIREBREAK_CRASHPOINT: 'push.answered:1', FIREBREAK_TEST_FAULTS: 'deaf-kafka' }
    assert.match(faultsOf(env).join(), /^FIREBREAK_CRASHPOINT: /)
  })

  for (const point of [
    'push.answered',
    'push.answered:0',
    'push.answered:-1',
    'push.answered:x',
    'nowhere:1',
    ':1',
  ]) {
    it(`refuse ${point} as a point`, () => {
      const faults = faultsOf({ FIREBREAK_TEST_FAULTS: 'crashpoint', FIREBREAK_CRASHPOINT: point })
      assert.match(faults.join(), /^FIREBREAK_CRASHPOINT: write name:n/)
    })
  }

  it('refuse a fault that there is not', () => {
    assert.match(faultsOf({ FIREBREAK_TEST_FAULTS: 'crashpoint,fire' }).join(), /^FIREBREAK_TEST_FAULTS: /)
  })
})
