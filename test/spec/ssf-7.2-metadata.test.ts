import assert from 'node:assert/strict'
import type { Express } from 'express'
import request from 'supertest'
import { createApp } from '../../src/http/app.js'
import { Unavailable } from '../../src/kernel/errors.js'
import { silentLogger } from '../../src/kernel/logger.js'
import type { DefaultSubjects } from '../../src/streams/default-subjects.js'
import { metadataPath, metadataRouter, transmitterMetadata } from '../../src/streams/metadata-router.js'

const KEY = { kty: 'RSA', kid: 'k1', use: 'sig', alg: 'RS256', n: 'AQAB', e: 'AQAB' }

interface Parts {
  readonly defaultSubjects?: DefaultSubjects
  readonly jwks?: () => { keys: object[] }
}

function hub(issuer: string, parts: Parts = {}) {
  const { defaultSubjects = async () => 'ALL', jwks = () => ({ keys: [KEY] }) } = parts
  return createApp({
    logger: silentLogger,
    mount: (app) => void app.use(metadataRouter({ settings: { issuer }, defaultSubjects, jwks })),
  })
}

describe('SSF 1.0 §7.2 transmitter metadata', () => {
  it('stands between host and path of the issuer (T-1)', async () => {
    assert.equal(metadataPath('https://h.example'), '/.well-known/ssf-configuration')
    assert.equal(metadataPath('https://h.example/'), '/.well-known/ssf-configuration')
    assert.equal(metadataPath('https://h.example/t1'), '/.well-known/ssf-configuration/t1')
    assert.equal(metadataPath('https://h.example/a/b/'), '/.well-known/ssf-configuration/a/b')
    const app = hub('https://h.example/t1')
    assert.equal((await request(app).get('/.well-known/ssf-configuration/t1')).status, 200)
    assert.equal((await request(app).get('/t1/.well-known/ssf-configuration')).status, 404)
    assert.equal((await request(app).get('/.well-known/ssf-configuration')).status, 404)
  })

  it('answers 200 with JSON to anyone (T-2, T-7)', async () => {
    const res = await request(hub('https://h.example')).get('/.well-known/ssf-configuration')
    assert.equal(res.status, 200)
    assert.match(res.headers['content-type'] ?? '', /^application\/json/)
  })

  it('repeats the issuer as it is, with a path too (T-3)', () => {
    for (const issuer of ['https://h.example', 'https://h.example/t1']) {
      const metadata = transmitterMetadata(issuer) as Record<string, string>
      assert.equal(metadata.issuer, issuer)
      assert.equal(metadata.configuration_endpoint, `${issuer}/ssf/streams`)
      assert.equal(metadata.jwks_uri, `${issuer}/ssf/jwks.json`)
    }
  })

  it('holds no empty array, only https, and no events_supported (T-4, T-5, T-8)', () => {
    const metadata = transmitterMetadata('https://h.example')
    for (const [name, value] of Object.entries(metadata)) {
      if (Array.isArray(value)) assert.ok(value.length > 0, name)
      if (/_endpoint$|_uri$/.test(name)) assert.match(String(value), /^https:\/\//, name)
    }
    assert.ok(!('events_supported' in metadata))
  })

  it('holds what the interoperability profile demands', async () => {
    const read = (app: Express) => request(app).get('/.well-known/ssf-configuration')
    const { body } = await read(hub('https://h.example'))
    assert.deepEqual(body, {
      spec_version: '1_0',
      issuer: 'https://h.example',
      jwks_uri: 'https://h.example/ssf/jwks.json',
      delivery_methods_supported: ['urn:ietf:rfc:8935', 'urn:ietf:rfc:8936'],
      configuration_endpoint: 'https://h.example/ssf/streams',
      status_endpoint: 'https://h.example/ssf/status',
      add_subject_endpoint: 'https://h.example/ssf/subjects/add',
      remove_subject_endpoint: 'https://h.example/ssf/subjects/remove',
      verification_endpoint: 'https://h.example/ssf/verify',
      authorization_schemes: [{ spec_urn: 'urn:ietf:rfc:6749' }],
      default_subjects: 'ALL',
    })
    const { default_subjects: _, ...rest } = body
    assert.deepEqual(
      (await read(hub('https://h.example', { defaultSubjects: async () => undefined }))).body,
      rest,
    )
  })

  it('serves the keys at jwks_uri, below the issuer’s path (T-10, T-11)', async () => {
    const res = await request(hub('https://h.example/t1')).get('/t1/ssf/jwks.json')
    assert.equal(res.status, 200)
    assert.deepEqual(res.body, { keys: [KEY] })
  })

  for (const [what, error, status, code] of [
    ['cannot be read', new Unavailable('The keys are too old.'), 503, 'ERR_UNAVAILABLE'],
    ['fails as nobody expected', new Error('the password is hunter2'), 500, 'ERR_INTERNAL'],
  ] as const) {
    it(`answers ${status} ${code}, which nobody may cache, where what it tells ${what}`, async () => {
      const fail = () => {
        throw error
      }
      const app = hub('https://h.example', { jwks: fail, defaultSubjects: fail })
      for (const path of ['/ssf/jwks.json', '/.well-known/ssf-configuration']) await refused(app, path)
    })

    async function refused(app: Express, path: string): Promise<void> {
      const res = await request(app).get(path)
      assert.deepEqual([res.status, res.body.code], [status, code])
      assert.deepEqual(Object.keys(res.body), ['code', 'message'])
      assert.doesNotMatch(res.text, /hunter2/)
      assert.equal(res.headers['content-type'], 'application/json; charset=utf-8')
      assert.equal(res.headers['cache-control'], 'no-store')
      assert.match(res.headers['x-request-id'] ?? '', /^[0-9a-f-]{36}$/)
      assert.equal(res.headers['retry-after'], status === 503 ? '2' : undefined)
      assert.equal(res.headers['www-authenticate'], undefined)
    }
  }

  it('publishes nothing at the old RISC place and never redirects (T-6, T-100)', async () => {
    const app = hub('https://h.example')
    assert.equal((await request(app).get('/.well-known/risc-configuration')).status, 404)
    assert.equal((await request(app).get('/.well-known/ssf-configuration/').redirects(0)).status, 200)
  })
})
