import assert from 'node:assert/strict'
import { createAddressRules } from '../../src/outgoing/address-rules.js'
import { AddressRefused } from '../../src/outgoing/outgoing-errors.js'
import { createUrlRules } from '../../src/outgoing/url-rules.js'
import { REFUSED_BY_SIGHT, REFUSED_URLS } from '../support/refused-urls.js'

const closed = createUrlRules(createAddressRules([]))

function refusal(url: string, rules = closed): AddressRefused {
  try {
    rules.parse(url)
  } catch (error) {
    assert.ok(error instanceof AddressRefused, `${url}: ${String(error)}`)
    return error
  }
  assert.fail(`${url} was not refused`)
}

describe('outgoing: URL and address rules', () => {
  for (const [row, urls] of Object.entries(REFUSED_URLS)) {
    for (const url of urls.filter((candidate) => REFUSED_BY_SIGHT.includes(candidate))) {
      it(`refuses ${JSON.stringify(url.slice(0, 60))} (${row.slice(0, 2)})`, () => {
        assert.equal(refusal(url).code, 'ERR_ADDRESS_REFUSED')
      })
    }
  }

  it('says the same to the caller for every cause', () => {
    const texts = new Set(REFUSED_BY_SIGHT.map((url) => refusal(url).message))
    assert.equal(texts.size, 1)
    assert.match([...texts][0] ?? '', /FIREBREAK_ALLOWED_NETWORKS/)
  })

  it('lets public https addresses and names through to the connect check', () => {
    assert.equal(closed.parse('https://8.8.8.8/x?y=1').path, '/x?y=1')
    assert.equal(closed.parse('https://[2606:4700::1111]:8443/').hostname, '2606:4700::1111')
    assert.equal(closed.parse('https://hub.example/events').origin, 'https://hub.example')
  })

  it('opens listed networks only, and plain http only on listed loopback', () => {
    const rules = createUrlRules(createAddressRules(['127.0.0.0/8', '10.1.0.0/16', 'fd12::/16']))
    rules.parse('http://127.0.0.1:8081/a')
    rules.parse('https://10.1.2.3/')
    rules.parse('https://[fd12::5]/')
    for (const url of [
      'http://10.1.2.3/',
      'http://[::1]/',
      'https://10.2.0.1/',
      'https://[::ffff:127.0.0.1]/',
    ])
      refusal(url, rules)
  })

  it('takes a single address for a network of one, and names the setting when it cannot read one', () => {
    const rules = createUrlRules(createAddressRules(['10.1.2.3', 'fd12::5']))
    rules.parse('https://10.1.2.3/')
    rules.parse('https://[fd12::5]/')
    refusal('https://10.1.2.4/', rules)
    for (const text of ['10.1.2.0/33', 'localhost', '', 'fe80::1%eth0/64']) {
      assert.throws(() => createAddressRules([text]), /FIREBREAK_ALLOWED_NETWORKS/)
    }
  })

  it('opens a metadata address only to a network that names it alone', () => {
    refusal('https://169.254.169.254/', createUrlRules(createAddressRules(['169.254.0.0/16', '0.0.0.0/0'])))
    createUrlRules(createAddressRules(['169.254.169.254/32'])).parse('https://169.254.169.254/')
  })

  it('never opens 0.0.0.0, multicast or mapped addresses, whatever is listed', () => {
    const rules = createUrlRules(createAddressRules(['0.0.0.0/0', '::/0']))
    for (const host of [
      '0.0.0.0',
      '224.0.0.1',
      '255.255.255.255',
      '[::]',
      '[ff02::1]',
      '[::ffff:10.0.0.1]',
    ]) {
      refusal(`https://${host}/`, rules)
    }
  })

  it('checks the IPv4 address inside a listed NAT64 prefix', () => {
    const rules = createUrlRules(createAddressRules(['64:ff9b::/96']))
    rules.parse('https://[64:ff9b::808:808]/')
    refusal('https://[64:ff9b::a9fe:a9fe]/', rules)
    refusal('https://[64:ff9b::7f00:1]/', rules)
  })

  it("refuses the hub's own ports", () => {
    const rules = createUrlRules(createAddressRules(['127.0.0.1/32']), [41_234, 443])
    refusal('http://127.0.0.1:41234/', rules)
    rules.parse('https://hub.example/')
  })
})
