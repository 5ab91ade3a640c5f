import assert from 'node:assert/strict'
import { sharedTwoHubs, type TwoHubs } from '../support/two-hubs.js'
import { waitUntil } from '../support/wait.js'

const PATH = '/.well-known/ssf-configuration'
const ENDPOINT = /_endpoint$/

describe('SSF 1.0 §7.2 transmitter metadata of two hubs behind one address', function () {
  this.timeout(120_000)
  let hubs: TwoHubs
  before(async () => {
    hubs = await sharedTwoHubs()
  })

  async function metadataOf(url: string): Promise<Record<string, unknown>> {
    const answer = await fetch(url + PATH, { redirect: 'error' })
    assert.equal(answer.status, 200)
    assert.match(answer.headers.get('content-type') ?? '', /^application\/json/)
    return (await answer.json()) as Record<string, unknown>
  }

  it('is the same at both, with the issuer and endpoints of the one address (T-2, T-3, T-7, T-8)', async () => {
    const [one, other] = hubs.directUrls
    // Each looks for receivers of another default of its own, once a second.
    const metadata = await waitUntil('both say the same of default_subjects', async () => {
      const both = [await metadataOf(one), await metadataOf(other)] as const
      return both[0].default_subjects === both[1].default_subjects ? both : undefined
    })
    assert.deepEqual(metadata[0], metadata[1])
    const { default_subjects: _, ...lasting } = metadata[0]
    assert.deepEqual(lasting, {
      spec_version: '1_0',
      issuer: hubs.url,
      jwks_uri: `${hubs.url}/ssf/jwks.json`,
      delivery_methods_supported: ['urn:ietf:rfc:8935', 'urn:ietf:rfc:8936'],
      configuration_endpoint: `${hubs.url}/ssf/streams`,
      status_endpoint: `${hubs.url}/ssf/status`,
      add_subject_endpoint: `${hubs.url}/ssf/subjects/add`,
      remove_subject_endpoint: `${hubs.url}/ssf/subjects/remove`,
      verification_endpoint: `${hubs.url}/ssf/verify`,
      authorization_schemes: [{ spec_urn: 'urn:ietf:rfc:6749' }],
    })
    const { default_subjects: __, ...atTheDoor } = await metadataOf(hubs.url)
    assert.deepEqual(atTheDoor, lasting)
  })

  it('names endpoints that stand at both, and nothing stands at the old RISC place (T-6)', async () => {
    const metadata = await metadataOf(hubs.url)
    const endpoints = Object.entries(metadata).filter(([name]) => ENDPOINT.test(name))
    assert.equal(endpoints.length, 5)
    for (const base of hubs.directUrls) {
      for (const [name, url] of endpoints) {
        const { pathname } = new URL(String(url))
        assert.equal((await fetch(base + pathname, { method: 'POST' })).status, 401, name)
      }
      assert.equal((await fetch(`${base}/.well-known/risc-configuration`)).status, 404)
    }
  })
})
