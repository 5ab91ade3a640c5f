import assert from 'node:assert/strict'
import { CAUSE_BITS, causeOf } from '../../src/delivery/cause.js'
import { newId } from '../../src/kernel/ids.js'
import { HUB_SOURCE_ID } from '../../src/secevent/event.js'

describe('the number of a cause', () => {
  it('is the same for the same cause, and has the source in its upper bits', () => {
    const source = newId()
    assert.equal(causeOf(source, 'a'), causeOf(source, 'a'))
    assert.notEqual(causeOf(source, 'a'), causeOf(source, 'b'))
    const numbers = Array.from({ length: 2_000 }, (_, index) => causeOf(source, `txn ${index}`))
    assert.equal(new Set(numbers.map((number) => number >> CAUSE_BITS)).size, 1)
    assert.ok(new Set(numbers).size > 1_900, 'causes of one source are spread')
  })

  it('is one for all that the hub says of its streams', () => {
    assert.equal(causeOf(HUB_SOURCE_ID, newId()), causeOf(HUB_SOURCE_ID, newId()))
  })

  it('fits an integer of Postgres and is never 0, which older rows have', () => {
    const numbers = Array.from({ length: 5_000 }, () => causeOf(newId(), newId()))
    assert.ok(numbers.every((number) => Number.isInteger(number) && number >= 2 ** CAUSE_BITS))
    assert.ok(numbers.every((number) => number < 2 ** 30))
    assert.ok(new Set(numbers.map((number) => number >> CAUSE_BITS)).size > 3_500, 'sources are spread')
  })
})
