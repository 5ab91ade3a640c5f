import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { exportJWK, generateKeyPair, type JWTPayload, SignJWT } from 'jose'

/** An authorization server that says what a test wants. */
export interface ScriptedIssuer {
  readonly issuer: string
  readonly introspectionEndpoint: string
  /** Requests by `METHOD /path`, with their form where there is one. */
  readonly seen: { line: string; authorization: string | undefined; form: URLSearchParams }[]
  /** Tokens that introspection calls active, with what it says of each. */
  readonly active: Map<string, object>
  /** False: every request is answered 503. */
  isUp: boolean
  /** A JWT of its key; members that are undefined are left out. */
  sign(claims: JWTPayload, header?: { typ?: string; kid?: string }): Promise<string>
  /** Takes another key, under another `kid`. */
  rotate(): Promise<void>
  close(): Promise<void>
}

/** @param path of the issuer, such as `/realms/main` */
export async function startScriptedIssuer(path = ''): Promise<ScriptedIssuer> {
  let keyCount = 0
  let key = await makeKey()
  const server = createServer((req, res) => {
    void (async () => {
      const line = `${req.method} ${req.url}`
      const form = new URLSearchParams(await readBody(req))
      scripted.seen.push({ line, authorization: req.headers.authorization, form })
      const body = scripted.isUp ? answers()[line]?.(form) : undefined
      const status = scripted.isUp ? (body ? 200 : 404) : 503
      res.writeHead(status, { 'content-type': 'application/json' }).end(body && JSON.stringify(body))
    })()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`

  async function makeKey() {
    keyCount += 1
    const { publicKey, privateKey } = await generateKeyPair('ES256')
    const kid = `key-${keyCount}`
    return { kid, privateKey, jwk: { ...(await exportJWK(publicKey)), kid, alg: 'ES256', use: 'sig' } }
  }

  const answers = (): Record<string, (form: URLSearchParams) => object> => ({
    [`GET /.well-known/oauth-authorization-server${path}`]: () => ({
      issuer: scripted.issuer,
      jwks_uri: `${origin}/keys`,
    }),
    'GET /keys': () => ({ keys: [key.jwk] }),
    'POST /introspect': (form) => {
      const known = scripted.active.get(form.get('token') ?? '')
      return known ? { active: true, ...known } : { active: false }
    },
  })

  const scripted: ScriptedIssuer = {
    issuer: origin + path,
    introspectionEndpoint: `${origin}/introspect`,
    seen: [],
    active: new Map(),
    isUp: true,
    sign: (claims, header = {}) =>
      new SignJWT(claims).setProtectedHeader({ alg: 'ES256', kid: key.kid, ...header }).sign(key.privateKey),
    async rotate() {
      key = await makeKey()
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
  return scripted
}

async function readBody(req: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of req) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks).toString('utf8')
}
