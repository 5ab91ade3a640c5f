import assert from 'node:assert/strict'
import fc from 'fast-check'
import { SetRejected } from '../../src/secevent/parse-set.js'
import { KeysUnavailable } from '../../src/secevent/verify-set.js'
import { claims, header, receive, signRaw, token } from './set-fixtures.js'

const RUNS = 400

/** A believed SET, or the expected kind of refusal; anything else fails the test. */
async function outcome(body: Buffer): Promise<'believed' | 'refused'> {
  try {
    await receive(body)
    return 'believed'
  } catch (error) {
    if (error instanceof SetRejected || error instanceof KeysUnavailable) return 'refused'
    throw error
  }
}

/** Anything done to some bytes of a buffer: overwritten, cut out, put in, doubled. */
function mutate(body: Buffer, edits: readonly Edit[]): Buffer {
  return edits.reduce((bytes, { at, length, put }) => {
    const start = at % (bytes.length + 1)
    return Buffer.concat([bytes.subarray(0, start), put, bytes.subarray(start + length)])
  }, body)
}

interface Edit {
  at: number
  length: number
  put: Buffer
}

const edit: fc.Arbitrary<Edit> = fc.record({
  at: fc.nat(5000),
  length: fc.nat(3),
  put: fc.uint8Array({ maxLength: 3 }).map((bytes) => Buffer.from(bytes)),
})
const edits = fc.array(edit, { minLength: 1, maxLength: 3 })

describe('a mutated SET', () => {
  const valid = Buffer.from(token())

  it('is never believed and never makes another exception, whatever bytes of the token change', async () => {
    await fc.assert(
      fc.asyncProperty(edits, async (changes) => {
        const mutant = mutate(valid, changes)
        fc.pre(!mutant.equals(valid))
        assert.equal(await outcome(mutant), 'refused')
      }),
      { numRuns: RUNS },
    )
  })

  it('never makes another exception when the change comes before the signature', async () => {
    const headerText = Buffer.from(JSON.stringify(header()))
    const claimsText = Buffer.from(JSON.stringify(claims()))
    await fc.assert(
      fc.asyncProperty(edits, fc.boolean(), async (changes, inHeader) => {
        const text = inHeader
          ? signRaw(mutate(headerText, changes), claimsText)
          : signRaw(headerText, mutate(claimsText, changes))
        await outcome(Buffer.from(text))
      }),
      { numRuns: RUNS },
    )
  })

  it('never makes another exception when any claim or header member has any JSON value', async () => {
    const names = fc.constantFrom('iss', 'jti', 'iat', 'aud', 'txn', 'sub_id', 'events', 'sub', 'exp', 'nbf')
    const headerNames = fc.constantFrom('alg', 'typ', 'kid', 'crit', 'b64', 'jwk', 'zip', 'x')
    await fc.assert(
      fc.asyncProperty(
        fc.dictionary(names, fc.jsonValue()),
        fc.dictionary(headerNames, fc.jsonValue()),
        async (claimChanges, headerChanges) => {
          await outcome(Buffer.from(token({ claims: { ...claimChanges }, header: { ...headerChanges } })))
        },
      ),
      { numRuns: RUNS },
    )
  })

  it('never makes another exception when event and subject are any JSON', async () => {
    const type = Object.keys(claims().events as object)[0] as string
    const member = fc.constantFrom(
      'format',
      'email',
      'user',
      'identifiers',
      'ip-addresses',
      'id',
      'uri',
      'session',
    )
    const format = fc.constantFrom('email', 'complex', 'aliases', 'ip-addresses', 'phone', 'own', 'account')
    await fc.assert(
      fc.asyncProperty(
        fc.dictionary(member, fc.oneof(format, fc.jsonValue())),
        fc.dictionary(
          fc.constantFrom('event_timestamp', 'reason_admin', 'initiating_entity', 'subject', 'amr'),
          fc.jsonValue(),
        ),
        async (subject, payload) => {
          await outcome(
            Buffer.from(token({ claims: { sub_id: { ...subject }, events: { [type]: { ...payload } } } })),
          )
        },
      ),
      { numRuns: RUNS },
    )
  })

  it('is believed as it was before', async () => {
    assert.equal(await outcome(valid), 'believed')
  })
})
