import assert from 'node:assert/strict'
import fc from 'fast-check'
import { type AdmissionLimits, createAdmission, type UnverifiedPlace } from '../../src/ingest/admission.js'

describe('ingest: admission', () => {
  let nowMs = 0
  const admissionOf = (limits: AdmissionLimits) =>
    createAdmission({ clock: { monotonicMs: () => nowMs }, limits })
  const noCut = () => assert.fail('was cut')
  beforeEach(() => {
    nowMs = 0
  })

  it('gives a network a quarter of the places, and all networks together all of them', () => {
    const admission = admissionOf({ maxUnverified: 8 })
    for (const network of ['a', 'a', 'b', 'b', 'c', 'c', 'd', 'd']) assert.ok(admission.admit(network, noCut))
    for (const network of ['a', 'e']) assert.equal(admission.admit(network, noCut), undefined)
  })

  it('cuts the slowest reader of a full network, and of no other', () => {
    const admission = admissionOf({ maxUnverified: 12 })
    const cuts: string[] = []
    const admit = (network: string, name: string) => admission.admit(network, () => void cuts.push(name))
    admit('b', 'b1')
    nowMs = 100
    for (const name of ['a1', 'a2', 'a3']) admit('a', name)
    nowMs = 599
    assert.equal(admit('a', 'early'), undefined)
    nowMs = 600
    assert.ok(admit('a', 'a4'))
    assert.deepEqual(cuts, ['a1'])
  })

  it('cuts nobody whose body is there', () => {
    const admission = admissionOf({ maxUnverified: 4 })
    admission.admit('a', noCut)?.complete()
    nowMs = 10_000
    assert.equal(admission.admit('a', noCut), undefined)
  })

  it('gives a source half of the places of verified SETs, whatever is being read', () => {
    const admission = admissionOf({ maxInFlight: 4, maxUnverified: 4 })
    for (const network of ['a', 'b', 'c', 'd']) admission.admit(network, noCut)
    const leave = admission.enter('s1', 'urgent')
    assert.ok(leave && admission.enter('s1', 'urgent'))
    assert.equal(admission.enter('s1', 'urgent'), undefined)
    assert.ok(admission.enter('s2', 'urgent'))
    leave()
    assert.ok(admission.enter('s1', 'urgent'))
  })

  it('has places of their own for each lane, so that a slow one keeps no other out', () => {
    const admission = admissionOf({ maxInFlight: 2 })
    for (const source of ['s1', 's2']) assert.ok(admission.enter(source, 'routine'))
    for (const source of ['s1', 's3']) assert.equal(admission.enter(source, 'routine'), undefined)
    const leave = admission.enter('s1', 'urgent')
    assert.ok(leave && admission.enter('s3', 'urgent') && admission.enter('s1', 'control'))
    leave()
    assert.equal(admission.enter('s3', 'routine'), undefined)
    assert.ok(admission.enter('s1', 'urgent'))
  })

  it('keeps count of a network that gives back one place of several', () => {
    const admission = admissionOf({ maxUnverified: 12 })
    const places = [1, 2, 3].map(() => admission.admit('a', noCut))
    places[0]?.leave()
    assert.ok(admission.admit('a', noCut))
    assert.equal(admission.admit('a', noCut), undefined)
  })

  it('counts no bytes of a push that was cut to make room for itself', () => {
    const admission = admissionOf({ maxBytes: 100 })
    let cuts = 0
    const place = admission.admit('a', () => {
      cuts += 1
    })
    assert.ok(place)
    assert.ok(place.hold(20))
    nowMs = 600
    assert.equal(place.hold(20), false)
    assert.equal(cuts, 1)
    assert.equal(place.hold(1), false)
    assert.ok(admission.admit('a', noCut)?.hold(25))
  })

  it('has all its room again once everybody has left, however often they say so', () => {
    const step = fc.record({
      network: fc.constantFrom('a', 'b', 'c'),
      bytes: fc.integer({ min: 1, max: 40 }),
      waitMs: fc.constantFrom(0, 600),
      leaves: fc.boolean(),
    })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const admission = admissionOf({ maxUnverified: 8, maxBytes: 100 })
        const places: UnverifiedPlace[] = []
        for (const { network, bytes, waitMs, leaves } of steps) {
          nowMs += waitMs
          const place = admission.admit(network, () => {})
          place?.hold(bytes)
          if (place) places.push(place)
          if (leaves) places[0]?.leave()
        }
        for (const place of [...places, ...places]) place.leave()
        for (const network of ['a', 'b', 'c', 'd']) {
          const [one, two] = [admission.admit(network, noCut), admission.admit(network, noCut)]
          assert.ok(one?.hold(13) && two?.hold(12))
        }
        assert.equal(admission.admit('e', noCut), undefined)
      }),
    )
  })
})
