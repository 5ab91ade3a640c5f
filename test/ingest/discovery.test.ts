import assert from 'node:assert/strict'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { discoverIssuer, metadataUrlOf, readIssuerMetadata } from '../../src/ingest/discovery.js'
import { InvalidRequest } from '../../src/kernel/errors.js'
import { createOutgoing, type Outgoing } from '../../src/outgoing/outgoing.js'
import { AddressRefused } from '../../src/outgoing/outgoing-errors.js'

const WELL_KNOWN = '/.well-known/ssf-configuration'

describe('ingest: SSF metadata of an issuer', () => {
  let idp: Server
  let idpUrl: string
  let outgoing: Outgoing
  const asked: IncomingMessage[] = []
  let answers: Record<string, (res: ServerResponse) => void>

  before(async () => {
    idp = createServer((req, res) => {
      asked.push(req)
      const answer = answers[req.url ?? '']
      if (answer) answer(res)
      else res.writeHead(404).end()
    })
    await new Promise<void>((resolve) => idp.listen(0, '127.0.0.1', resolve))
    idpUrl = `http://127.0.0.1:${(idp.address() as AddressInfo).port}`
    outgoing = createOutgoing({ allowedNetworks: ['127.0.0.1/32'] })
  })
  after(async () => {
    await outgoing.close()
    idp.closeAllConnections()
    idp.close()
  })
  beforeEach(() => {
    answers = {}
    asked.length = 0
  })

  const document = (issuer: string, more: object = {}) => ({ issuer, jwks_uri: `${idpUrl}/keys`, ...more })
  const serve = (path: string, body: unknown) => {
    answers[path] = (res) => void res.end(typeof body === 'string' ? body : JSON.stringify(body))
  }
  const refused = async (work: Promise<unknown>, says: RegExp): Promise<InvalidRequest> => {
    const error = await work.then(
      () => assert.fail('it was believed'),
      (thrown: unknown) => thrown,
    )
    assert.ok(error instanceof InvalidRequest, String(error))
    assert.match(error.message, says)
    return error
  }

  it('stands between the host and the path of the issuer (SSF 1.0 §7.2)', () => {
    const places: [issuer: string, url: string | undefined][] = [
      ['https://idp.example', `https://idp.example${WELL_KNOWN}`],
      ['https://idp.example/', `https://idp.example${WELL_KNOWN}`],
      ['https://idp.example/t/a', `https://idp.example${WELL_KNOWN}/t/a`],
      ['https://idp.example/t//', `https://idp.example${WELL_KNOWN}/t`],
      ['https://idp.example:8443/a?b=c', `https://idp.example:8443${WELL_KNOWN}/a`],
      ['idp', undefined],
    ]
    for (const [issuer, url] of places) assert.equal(metadataUrlOf(issuer), url)
  })

  const FOUND: [
    title: string,
    discover: (issuer: string, url: string) => true | string,
    knowsIssuer: boolean,
  ][] = [
    ['at the place of the issuer', () => true, true],
    ['by the URL of the issuer', (issuer) => issuer, false],
    ['by the URL of the issuer, given twice', (issuer) => issuer, true],
    ['by the URL of the document', (_issuer, url) => url, false],
    ['by the URL of the document, beside the issuer', (_issuer, url) => url, true],
  ]
  for (const [title, discover, knowsIssuer] of FOUND) {
    it(`is found ${title}`, async () => {
      const issuer = `${idpUrl}/t`
      const metadataUrl = `${idpUrl}${WELL_KNOWN}/t`
      serve(`${WELL_KNOWN}/t`, document(issuer, { extra: 1 }))
      const found = await discoverIssuer(
        outgoing,
        discover(issuer, metadataUrl),
        knowsIssuer ? issuer : undefined,
      )
      assert.deepEqual(found, {
        metadataUrl,
        issuer,
        jwksUri: `${idpUrl}/keys`,
        document: document(issuer, { extra: 1 }),
      })
      assert.deepEqual(
        asked.map(({ method, url, headers }) => `${method} ${url} ${headers.accept}`),
        [`GET ${WELL_KNOWN}/t application/json`],
      )
    })
  }

  it('is found also when the issuer itself stands at a well-known place', async () => {
    const issuer = `${idpUrl}/.well-known/idp`
    serve(`${WELL_KNOWN}/.well-known/idp`, document(issuer))
    assert.equal((await discoverIssuer(outgoing, true, issuer)).issuer, issuer)
  })

  it('may stand elsewhere when the issuer is given', async () => {
    serve('/metadata.json', document('https://idp.example'))
    const url = `${idpUrl}/metadata.json`
    const found = await discoverIssuer(outgoing, url, 'https://idp.example')
    assert.deepEqual([found.metadataUrl, found.issuer], [url, 'https://idp.example'])
    await refused(discoverIssuer(outgoing, url, 'https://else.example'), /another "issuer"/)
  })

  it('is not asked for over plain http outside of this machine (SSF 1.0 §7.2)', async () => {
    for (const issuer of ['http://8.8.8.8', 'http://10.0.0.1/t', 'ftp://127.0.0.1']) {
      await assert.rejects(discoverIssuer(outgoing, true, issuer), AddressRefused, issuer)
      await assert.rejects(discoverIssuer(outgoing, issuer), AddressRefused, issuer)
    }
    const issuer = `${idpUrl}/t`
    serve(`${WELL_KNOWN}/t`, { issuer, jwks_uri: 'http://8.8.8.8/keys' })
    await assert.rejects(discoverIssuer(outgoing, true, issuer), AddressRefused)
  })

  it('is asked for by a URL only', async () => {
    await refused(discoverIssuer(outgoing, true), /issuer must be a URL/)
    await refused(discoverIssuer(outgoing, true, 'idp'), /issuer must be a URL/)
    await refused(discoverIssuer(outgoing, 'idp', 'https://idp.example'), /discover must be true or a URL/)
    assert.equal(asked.length, 0)
  })

  it('is discarded when it names another issuer (SSF 1.0 §7.2.4)', async () => {
    const path = `${WELL_KNOWN}/t`
    const url = idpUrl + path
    for (const issuer of [`${idpUrl}/t/`, `${idpUrl}/T`, `${idpUrl}/other`, undefined, 7]) {
      serve(path, document(issuer as string))
      await refused(readIssuerMetadata(outgoing, url, `${idpUrl}/t`), /another "issuer"/)
    }
    // Without an issuer it must stand at the place of the one that it names.
    for (const issuer of [`${idpUrl}/other`, 'https://idp.example/t', 'no URL', undefined, 7]) {
      serve(path, document(issuer as string))
      await refused(readIssuerMetadata(outgoing, url), /another "issuer"/)
    }
    serve(path, document(`${idpUrl}/t`))
    assert.equal((await readIssuerMetadata(outgoing, url)).issuer, `${idpUrl}/t`)
  })

  it('must say where the keys are, at an address that the hub may reach', async () => {
    const issuer = `${idpUrl}/t`
    for (const jwks_uri of [undefined, 7, null]) {
      serve(`${WELL_KNOWN}/t`, { issuer, jwks_uri })
      await refused(discoverIssuer(outgoing, true, issuer), /no "jwks_uri"/)
    }
    serve(`${WELL_KNOWN}/t`, { issuer, jwks_uri: 'https://10.0.0.1/keys' })
    await assert.rejects(discoverIssuer(outgoing, true, issuer), AddressRefused)
    await assert.rejects(discoverIssuer(outgoing, true, 'https://10.0.0.1'), AddressRefused)
  })

  const UNUSABLE: [title: string, answer: (res: ServerResponse, good: string) => void, detail?: string][] = [
    ['status 404', (res, good) => res.writeHead(404).end(good), 'status 404'],
    ['status 201', (res, good) => res.writeHead(201).end(good), 'status 201'],
    ['a redirect', (res) => res.writeHead(302, { location: '/' }).end(), 'status 302'],
    ['no answer', (res) => res.destroy(), 'connect|protocol|aborted'],
    ['text', (res) => res.end('<html>')],
    ['a list', (res) => res.end('[]')],
    ['null', (res) => res.end('null')],
    ['nothing', (res) => res.end()],
  ]
  for (const [title, answer, detail] of UNUSABLE) {
    it(`is not usable when the answer is ${title}, and the reason goes to the log alone`, async () => {
      const issuer = `${idpUrl}/t`
      answers[`${WELL_KNOWN}/t`] = (res) => answer(res, JSON.stringify(document(issuer)))
      const error = await refused(discoverIssuer(outgoing, true, issuer), /cannot be read/)
      assert.match(String(error.detail), new RegExp(`^(${detail ?? 'undefined'})$`))
      assert.equal(error.cause !== undefined, title === 'no answer')
    })
  }

  it('leaves failures of the hub itself as they are', async () => {
    const failure = new TypeError('x is no function')
    const door = { checkUrl: async () => {}, request: () => Promise.reject(failure) }
    await assert.rejects(discoverIssuer(door, true, idpUrl), failure)
  })
})
