import assert from 'node:assert/strict'
import { HUB_SOURCE_ID, LANE_NUMBER, LANES, SLOT_COUNT } from '../../src/secevent/event.js'

/** These stand in every database and topic: another value would orphan what is stored. */
describe('what is stored of events', () => {
  it('numbers the lanes in the order in which they go', () => {
    assert.deepEqual(LANES, ['control', 'urgent', 'routine'])
    assert.deepEqual(LANE_NUMBER, { control: 0, urgent: 1, routine: 2 })
  })

  it('has 64 slots, and the hub as a source with the nil UUID', () => {
    assert.equal(SLOT_COUNT, 64)
    assert.equal(HUB_SOURCE_ID, '00000000-0000-0000-0000-000000000000')
  })
})
