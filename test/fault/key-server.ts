import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { makeSetKey, type SetKey, signEvent, type Upstream } from '../support/upstream.js'

/** How the address of the keys answers. */
export type KeyAnswer =
  | 'keys'
  | 'down'
  | 'endless'
  | 'drips'
  | 'redirects'
  | 'no JSON'
  | 'HTML'
  | 'ten thousand keys'

/** An upstream whose keys the hub fetches, and which changes them. */
export interface KeyServer {
  readonly upstream: Upstream
  /** Of its first key, or of the one since the last `rotate`. */
  kid(): string
  /** Times that the keys were asked for. */
  fetches(): number
  answerWith(answer: KeyAnswer): void
  /** From now on SETs are signed by a new key, which is published at the same moment. */
  rotate(): Promise<void>
  /** Publishes the newest key alone. */
  forgetOldKeys(): void
  /** A SET of a key that is published no more, or of one that never was. */
  signAs(key: 'first' | 'nobody', txn: string): Promise<string>
  close(): Promise<void>
}

export async function startKeyServer(name: string): Promise<KeyServer> {
  const issuer = `https://${name}.example`
  const first = await makeSetKey()
  let newest = first
  let published: SetKey[] = [first]
  let answer: KeyAnswer = 'keys'
  let fetches = 0

  const server = createServer((_req, res) => {
    fetches += 1
    give(answer, res, published)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`

  return {
    upstream: {
      issuer,
      jwks: { keys: [] },
      jwksUri: `${origin}/keys`,
      sign: (event) => signEvent(issuer, newest, event),
    },
    kid: () => newest.kid,
    fetches: () => fetches,
    answerWith(next) {
      answer = next
    },
    async rotate() {
      const next = await makeSetKey()
      published = [...published, next]
      newest = next
    },
    forgetOldKeys() {
      published = [newest]
    },
    async signAs(key, txn) {
      return signEvent(issuer, key === 'first' ? first : await makeSetKey(), { txn, user: 'mallory' })
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

function give(answer: KeyAnswer, res: ServerResponse, keys: readonly SetKey[]): void {
  const json = { 'content-type': 'application/json' }
  const set = JSON.stringify({ keys: keys.map(({ jwk }) => jwk) })
  switch (answer) {
    case 'keys':
      return void res.writeHead(200, json).end(set)
    case 'down':
      return void res.writeHead(503).end()
    case 'redirects':
      return void res.writeHead(302, { location: '/elsewhere' }).end()
    case 'no JSON':
      return void res.writeHead(200, json).end('{"keys": [')
    case 'HTML':
      return void res.writeHead(200, { 'content-type': 'text/html' }).end('<p>Under maintenance')
    case 'ten thousand keys':
      return void res.writeHead(200, json).end(JSON.stringify({ keys: Array(10_000).fill(keys[0]?.jwk) }))
    case 'drips': {
      const timer = setInterval(() => res.write(' '), 100)
      return void res.once('close', () => clearInterval(timer))
    }
    case 'endless': {
      const more = () => {
        while (!res.destroyed && res.write(Buffer.alloc(65_536, ' ')));
      }
      res.on('drain', more)
      more()
    }
  }
}
