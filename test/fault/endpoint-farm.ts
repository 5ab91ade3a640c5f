import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'

/** Many push endpoints on one port: each has a path, which is its name. */
export interface EndpointFarm {
  urlOf(name: string): string
  /** These answer 500. */
  readonly failing: Set<string>
  close(): Promise<void>
}

/** @param onSet is called with each SET that is about to be answered 202 */
export async function startEndpointFarm(onSet: (name: string, set: string) => void): Promise<EndpointFarm> {
  const failing = new Set<string>()
  const server = createServer((req, res) => {
    const name = decodeURIComponent(req.url?.slice(1) ?? '')
    text(req).then(
      (set) => {
        if (failing.has(name)) return void res.writeHead(500).end()
        onSet(name, set)
        res.writeHead(202).end()
      },
      () => res.destroy(),
    )
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return {
    urlOf: (name) => `${origin}/${encodeURIComponent(name)}`,
    failing,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}
