import assert from 'node:assert/strict'
import { createGroupCommit } from '../../src/kernel/group-commit.js'

describe('group commit', () => {
  it('gathers what comes during a flush into the next one, in order', async () => {
    const flushes: number[][] = []
    let release: () => void = () => {}
    const commit = createGroupCommit<number, number>({
      maxBatch: 100,
      async flush(items) {
        flushes.push(items)
        if (flushes.length === 1) {
          await new Promise<void>((resolve) => {
            release = resolve
          })
        }
        return items.map((item) => item * 10)
      },
    })
    const first = commit.add(1)
    await Promise.resolve()
    await Promise.resolve()
    const rest = [2, 3, 4].map((item) => commit.add(item))
    assert.equal(commit.waiting(), 3)
    release()
    assert.deepEqual(await Promise.all([first, ...rest]), [10, 20, 30, 40])
    assert.deepEqual(flushes, [[1], [2, 3, 4]])
  })

  it('never flushes more than maxBatch at once', async () => {
    const sizes: number[] = []
    const commit = createGroupCommit<number, void>({
      maxBatch: 3,
      flush: async (items) => {
        sizes.push(items.length)
        return items.map(() => undefined)
      },
    })
    await Promise.all(Array.from({ length: 8 }, (_, index) => commit.add(index)))
    assert.deepEqual(sizes, [3, 3, 2])
  })

  it('rejects every item of a failed flush and goes on with the next', async () => {
    let fail = true
    const commit = createGroupCommit<number, string>({
      maxBatch: 10,
      async flush(items) {
        if (fail) throw new Error('no disk')
        return items.map(String)
      },
    })
    const failed = await Promise.allSettled([commit.add(1), commit.add(2)])
    assert.ok(failed.every(({ status }) => status === 'rejected'))
    fail = false
    assert.equal(await commit.add(3), '3')
  })

  it('says when it is idle', async () => {
    let flushed = false
    const commit = createGroupCommit<number, void>({
      maxBatch: 10,
      async flush() {
        await new Promise((resolve) => setImmediate(resolve))
        flushed = true
        return [undefined]
      },
    })
    const added = commit.add(1)
    await commit.idle()
    assert.ok(flushed)
    await added
  })
})
