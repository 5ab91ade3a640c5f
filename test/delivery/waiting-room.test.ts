import assert from 'node:assert/strict'
import { createWaitingRooms } from '../../src/delivery/waiting-room.js'

const limits = {
  inAll: { sets: 10, bytes: 10_000 },
  perStream: { sets: 6, bytes: 5_000 },
  guaranteed: { sets: 2, bytes: 1_000 },
}

function fill(room: { count(change: 1 | -1, bytes: number): void }, sets: number, bytes = 1): void {
  for (let n = 0; n < sets; n += 1) room.count(1, bytes)
}

describe('what waits in memory', () => {
  it('is bounded by the SETs of a stream, those that are about to come included', () => {
    const room = createWaitingRooms(limits)()
    fill(room, 5)
    assert.equal(room.hasRoom(0), true)
    assert.equal(room.hasRoom(1), false)
    fill(room, 1)
    assert.equal(room.hasRoom(0), false)
    room.count(-1, 1)
    assert.equal(room.hasRoom(0), true)
  })

  it('is bounded by the bytes of a stream: a few large SETs are as much as many small ones', () => {
    const room = createWaitingRooms(limits)()
    fill(room, 3, 2_000)
    assert.equal(room.hasRoom(0), false)
  })

  it('is bounded in all, by SETs and by bytes, and gives each stream its guaranteed part even then', () => {
    for (const bytes of [1, 2_500]) {
      const open = createWaitingRooms(limits)
      const slow = [open(), open(), open()]
      for (const room of slow) fill(room, bytes === 1 ? 4 : 2, bytes)
      assert.deepEqual(
        slow.map((room) => room.hasRoom(0)),
        [false, false, false],
      )
      const healthy = open()
      assert.equal(healthy.hasRoom(0), true)
      fill(healthy, 2)
      assert.equal(healthy.hasRoom(0), false)
    }
  })
})
