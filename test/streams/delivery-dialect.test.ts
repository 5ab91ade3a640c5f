import assert from 'node:assert/strict'
import { readDialect, writeDialect } from '../../src/streams/delivery-dialect.js'
import { METHOD_URI } from '../../src/streams/stream.js'

const RISC_PUSH = 'https://schemas.openid.net/secevent/risc/delivery-method/push'
const RISC_POLL = 'https://schemas.openid.net/secevent/risc/delivery-method/poll'
const URL = 'https://receiver.example/events'

describe('a delivery in another dialect', () => {
  const read = (delivery: unknown) =>
    (readDialect({ description: 'd', delivery }, ['risc_delivery_methods']) as { delivery: unknown }).delivery

  const READ: [title: string, sent: object, understood: object][] = [
    ['method', { method: RISC_POLL }, { method: METHOD_URI.poll }],
    ['delivery_method', { delivery_method: RISC_POLL }, { method: METHOD_URI.poll }],
    [
      'delivery_method and url',
      { delivery_method: RISC_PUSH, url: URL },
      { method: METHOD_URI.push, endpoint_url: URL },
    ],
    [
      'both names, the newer first',
      { method: RISC_PUSH, delivery_method: RISC_POLL, endpoint_url: URL, url: 'https://old.example/' },
      { method: METHOD_URI.push, endpoint_url: URL },
    ],
    [
      'the words of SSF 1.0, with a header',
      { method: METHOD_URI.push, endpoint_url: URL, authorization_header: 'x' },
      { method: METHOD_URI.push, endpoint_url: URL, authorization_header: 'x' },
    ],
    ['a method that nobody knows', { method: 'urn:x' }, { method: 'urn:x' }],
    ['neither method nor URL', {}, {}],
  ]
  for (const [title, sent, understood] of READ) {
    it(`is read by ${title}`, () => {
      assert.deepEqual(read(sent), understood)
    })
  }

  it('is left to the schema where it is no object', () => {
    for (const delivery of [undefined, null, 'x', [RISC_PUSH]]) assert.deepEqual(read(delivery), delivery)
    for (const body of [undefined, null, 'x', []]) {
      assert.deepEqual(readDialect(body, ['risc_delivery_methods']), body)
    }
  })

  it('is read as it stands without the switch', () => {
    const body = { delivery: { method: RISC_POLL, delivery_method: RISC_PUSH, endpoint_url: '' } }
    assert.deepEqual(readDialect(body, []), body)
    assert.deepEqual(readDialect(body, ['accept_empty_poll_url']), body)
  })

  it('loses the empty URL of poll alone', () => {
    const sent = (delivery: object) => readDialect({ delivery }, ['accept_empty_poll_url'])
    assert.deepEqual(sent({ method: METHOD_URI.poll, endpoint_url: '' }), {
      delivery: { method: METHOD_URI.poll },
    })
    for (const delivery of [
      { method: METHOD_URI.poll, endpoint_url: URL },
      { method: METHOD_URI.push, endpoint_url: '' },
    ]) {
      assert.deepEqual(sent(delivery), { delivery })
    }
  })

  it('is written under both names, and only with the switch', () => {
    const configuration = {
      stream_id: 's',
      iss: 'i',
      aud: 'a',
      events_supported: [],
      events_delivered: [],
      delivery: { method: METHOD_URI.push, endpoint_url: URL },
    }
    assert.deepEqual(writeDialect(configuration, ['accept_empty_poll_url']), configuration)
    assert.deepEqual(writeDialect(configuration, ['risc_delivery_methods']), {
      ...configuration,
      delivery: { method: RISC_PUSH, endpoint_url: URL, delivery_method: RISC_PUSH, url: URL },
    })
  })
})
