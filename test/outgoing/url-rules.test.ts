import assert from 'node:assert/strict'
import { createAddressRules } from '../../src/outgoing/address-rules.js'
import { AddressRefused } from '../../src/outgoing/outgoing-errors.js'
import { createUrlRules } from '../../src/outgoing/url-rules.js'

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

/** faults.md R1, R2, R4, each as a URL. */
const REFUSED: Record<string, string[]> = {
  'R1 loopback, private, CGNAT, link-local, metadata': [
    'https://127.0.0.1/',
    'https://127.255.255.254/',
    'https://[::1]/',
    'https://10.1.2.3/',
    'https://172.16.0.1/',
    'https://172.31.255.255/',
    'https://192.168.1.1/',
    'https://100.64.0.1/',
    'https://100.100.100.200/',
    'https://169.254.169.254/latest/meta-data/',
    'https://169.254.1.1/',
    'https://168.63.129.16/',
    'https://0.0.0.0/',
    'https://0.1.2.3/',
    'https://255.255.255.255/',
    'https://224.0.0.1/',
    'https://240.0.0.1/',
    'https://192.0.0.192/',
    'https://198.18.0.1/',
    'https://203.0.113.7/',
    'https://[::]/',
    'https://[fe80::1]/',
    'https://[fec0::1]/',
    'https://[fc00::1]/',
    'https://[fd00:ec2::254]/',
    'https://[ff02::1]/',
    'https://[2001:db8::1]/',
    'https://[3fff::1]/',
    'https://[100::1]/',
    'https://[4000::1]/',
  ],
  'R2 another address inside, or in disguise': [
    'https://[::ffff:127.0.0.1]/',
    'https://[::ffff:8.8.8.8]/',
    'https://[::ffff:a9fe:a9fe]/',
    'https://[::127.0.0.1]/',
    'https://[::ffff:0:10.0.0.1]/',
    'https://[2002:7f00:1::]/',
    'https://[2002:808:808::1]/',
    'https://[64:ff9b::7f00:1]/',
    'https://[64:ff9b::808:808]/',
    'https://[64:ff9b:1::a00:1]/',
    'https://[2001:0:808:808::1]/',
    'https://[2a00:1450::5efe:a00:1]/',
    'https://[5f00::1]/',
    'https://2130706433/',
    'https://0x7f000001/',
    'https://0x7f.1/',
    'https://0177.0.0.1/',
    'https://017700000001/',
    'https://127.1/',
    'https://１２７.０.０.１/',
    'https://①②⑦.0.0.1/',
    'https://127.0.0.1./',
  ],
  'R4 userinfo, line ends, schemes, ports': [
    'https://good.example@127.0.0.1/',
    'https://user:pass@hub.example/',
    'https://@hub.example/',
    'https://hub.example/\r\nHost: other',
    'https://hub.example/\tpath',
    'https://hub.example/ path',
    ' https://hub.example/',
    'https://hub.example\\@10.0.0.1/',
    'https:\\\\hub.example/',
    'ftp://hub.example/',
    'file:///etc/passwd',
    'gopher://hub.example/',
    'data:text/plain,x',
    'unix:/var/run/docker.sock',
    'javascript:alert(1)',
    'http://hub.example/',
    'http://8.8.8.8/',
    '//hub.example/',
    '/path',
    '',
    'https://',
    'https://hub.example:0/',
    'https://hub.example:22/',
    'https://hub.example:5432/',
    'https://hub.example:9092/',
    'https://hub.example:6379/',
    `https://hub.example/${'a'.repeat(2048)}`,
  ],
}

describe('outgoing: URL and address rules', () => {
  for (const [row, urls] of Object.entries(REFUSED)) {
    // Plain http to a name is only known to be wrong once its addresses are: the connect tests hold it.
    for (const url of urls.filter((candidate) => candidate !== 'http://hub.example/')) {
      it(`refuses ${JSON.stringify(url.slice(0, 60))} (${row.slice(0, 2)})`, () => {
        assert.equal(refusal(url).code, 'ERR_ADDRESS_REFUSED')
      })
    }
  }

  it('says the same to the caller for every cause', () => {
    const texts = new Set(
      Object.values(REFUSED)
        .flat()
        .filter((url) => url !== 'http://hub.example/')
        .map((url) => refusal(url).message),
    )
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
