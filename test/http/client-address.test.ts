import assert from 'node:assert/strict'
import type { IncomingMessage } from 'node:http'
import { createClientAddress, networkOf } from '../../src/http/client-address.js'

const from = (remoteAddress: string, forwarded?: string) =>
  ({
    socket: { remoteAddress },
    headers: forwarded === undefined ? {} : { 'x-forwarded-for': forwarded },
  }) as unknown as IncomingMessage

describe('http: client address', () => {
  it('is the peer of the socket, whatever a header says', () => {
    const addressOf = createClientAddress([])
    assert.equal(addressOf(from('192.0.2.1', '198.51.100.9')), '192.0.2.1')
    assert.equal(addressOf(from('::ffff:192.0.2.1')), '192.0.2.1')
  })

  it('is the last forwarded address that is no proxy of ours', () => {
    const addressOf = createClientAddress(['10.0.0.0/8', '2001:db8::1'])
    assert.equal(addressOf(from('10.1.1.1', '203.0.113.5, 198.51.100.9, 10.2.2.2')), '198.51.100.9')
    assert.equal(addressOf(from('::ffff:10.1.1.1', '198.51.100.9')), '198.51.100.9')
    assert.equal(addressOf(from('2001:db8::1', '198.51.100.9')), '198.51.100.9')
    assert.equal(addressOf(from('192.0.2.1', '198.51.100.9')), '192.0.2.1')
    for (const odd of [undefined, '', 'unknown', '198.51.100.9:1234']) {
      assert.equal(addressOf(from('10.1.1.1', odd)), '10.1.1.1')
    }
    assert.equal(addressOf(from('10.1.1.1', '10.3.3.3')), '10.3.3.3')
  })

  it('counts an IPv6 network of 64 bits as one sender, and an IPv4 address as itself', () => {
    assert.equal(networkOf('2001:db8:1:2:3:4:5:6'), networkOf('2001:DB8:1:2::9'))
    assert.notEqual(networkOf('2001:db8:1:2::9'), networkOf('2001:db8:1:3::9'))
    assert.equal(networkOf('2001:db8::1'), networkOf('2001:db8:0:0:5::'))
    assert.notEqual(networkOf('::1'), networkOf('fe80::1%eth0'))
    assert.equal(networkOf('::ffff:192.0.2.1'), '192.0.2.1')
    assert.equal(networkOf('unknown'), 'unknown')
  })
})
