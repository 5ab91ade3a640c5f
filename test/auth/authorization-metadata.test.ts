import assert from 'node:assert/strict'
import express from 'express'
import request from 'supertest'
import {
  resourceMetadata,
  serverMetadata,
  wellKnownPath,
  wellKnownUrl,
} from '../../src/auth/authorization-metadata.js'
import { basicCredentials } from '../../src/auth/basic-credentials.js'
import { resourceMetadataRouter } from '../../src/auth/resource-metadata-router.js'
import { hashSecret, isSameHash } from '../../src/auth/secrets.js'
import { refuseTakenName } from '../../src/auth/taken-name.js'
import { Conflict } from '../../src/kernel/errors.js'

const METHODS = ['client_secret_basic', 'client_secret_post', 'private_key_jwt']
const ALGORITHMS = ['RS256', 'PS256', 'ES256', 'EdDSA']

describe('auth: metadata of the authorization server', () => {
  for (const [issuer, base] of [
    ['https://hub.example', 'https://hub.example'],
    ['https://hub.example/', 'https://hub.example'],
    ['https://hub.example/t1', 'https://hub.example/t1'],
  ] as const) {
    it(`names what there is below ${issuer} (RFC 8414 §2)`, () => {
      assert.deepEqual(serverMetadata(issuer), {
        issuer,
        token_endpoint: `${base}/oauth/token`,
        introspection_endpoint: `${base}/oauth/introspect`,
        revocation_endpoint: `${base}/oauth/revoke`,
        grant_types_supported: ['client_credentials'],
        response_types_supported: [],
        scopes_supported: ['ssf.read', 'ssf.manage'],
        token_endpoint_auth_methods_supported: METHODS,
        token_endpoint_auth_signing_alg_values_supported: ALGORITHMS,
        introspection_endpoint_auth_methods_supported: METHODS,
        introspection_endpoint_auth_signing_alg_values_supported: ALGORITHMS,
        revocation_endpoint_auth_methods_supported: METHODS,
        revocation_endpoint_auth_signing_alg_values_supported: ALGORITHMS,
      })
    })
  }

  it('stands between host and path (RFC 8414 §3.1, RFC 9728 §3.1)', () => {
    assert.equal(wellKnownPath('https://hub.example'), '/.well-known/oauth-authorization-server')
    assert.equal(wellKnownPath('https://hub.example/a/b', 'x'), '/.well-known/x/a/b')
    assert.equal(
      wellKnownUrl('https://hub.example:8443/a'),
      'https://hub.example:8443/.well-known/oauth-authorization-server/a',
    )
  })

  it('tells of the hub as a resource who issues the tokens, and how they are sent (RFC 9728 §2)', () => {
    assert.deepEqual(resourceMetadata('https://hub.example', 'https://as.example'), {
      resource: 'https://hub.example',
      authorization_servers: ['https://as.example'],
      scopes_supported: ['ssf.read', 'ssf.manage'],
      bearer_methods_supported: ['header'],
    })
  })
})

describe('auth: metadata of the hub as a resource', () => {
  it('are public, where the hub’s issuer says, and may be kept for five minutes (RFC 9728 §3.1)', async () => {
    const app = express().use(resourceMetadataRouter('https://hub.example/t1', 'https://as.example'))
    const res = await request(app).get('/.well-known/oauth-protected-resource/t1')
    assert.equal(res.status, 200)
    assert.equal(res.headers['cache-control'], 'public, max-age=300')
    assert.deepEqual(res.body, resourceMetadata('https://hub.example/t1', 'https://as.example'))
    assert.equal((await request(app).get('/.well-known/oauth-protected-resource')).status, 404)
  })
})

describe('auth: secrets and names', () => {
  it('are compared whole, and differ when one is longer', () => {
    const hash = hashSecret('a')
    assert.equal(isSameHash(hash, hashSecret('a')), true)
    assert.equal(isSameHash(hash, hashSecret('b')), false)
    assert.equal(isSameHash(hash, Buffer.alloc(0)), false)
    assert.equal(isSameHash(hash, hash.subarray(1)), false)
  })

  it('are form-encoded before they are put together for Basic (RFC 6749 §2.3.1)', () => {
    const [scheme, sent = ''] = basicCredentials('a:b c', 'p%/é+').split(' ')
    assert.equal(scheme, 'Basic')
    assert.equal(Buffer.from(sent, 'base64').toString(), 'a%3Ab+c:p%25%2F%C3%A9%2B')
  })

  it('that are taken are a conflict, and no other fault of the database is', async () => {
    const failWith = (members: object) =>
      refuseTakenName('taken', async () => {
        throw Object.assign(new Error('of the database'), members)
      })
    await assert.rejects(failWith({ code: '23505', constraint: 'receivers_name_key' }), (error: unknown) => {
      assert.ok(error instanceof Conflict && error.message === 'taken')
      assert.equal((error.cause as Error).message, 'of the database')
      return true
    })
    for (const other of [
      { code: '23505', constraint: 'receivers_name_key_2' },
      { code: '23505', constraint: 'receivers_pkey' },
      { code: '23505' },
      { code: '23503', constraint: 'receivers_name_key' },
    ]) {
      await assert.rejects(failWith(other), { message: 'of the database' }, JSON.stringify(other))
    }
    assert.equal(await refuseTakenName('taken', async () => 7), 7)
  })
})
