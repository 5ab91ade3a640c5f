import assert from 'node:assert/strict'
import { present } from '../../src/kernel/present.js'

describe('kernel: present', () => {
  it('leaves out what is undefined, and nothing else', () => {
    const members = { name: 'a', text: '', none: null, count: 0, off: false, missing: undefined }
    assert.deepEqual(present(members), { name: 'a', text: '', none: null, count: 0, off: false })
    assert.ok(!('missing' in present(members)))
  })
})
