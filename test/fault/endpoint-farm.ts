import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'

/** Many push endpoints on one port: each has a path, which is its name. */
export interface EndpointFarm {
  urlOf(name: string): string
  /** Of those that do not take what comes. */
  readonly moods: Map<string, 'fails' | 'is silent'>
  close(): Promise<void>
}

/** @param onSet is called with each SET that is about to be answered 202 */
export async function startEndpointFarm(onSet: (name: string, set: string) => void): Promise<EndpointFarm> {
  const moods: EndpointFarm['moods'] = new Map()
  const server = createServer((req, res) => {
    const name = decodeURIComponent(req.url?.slice(1) ?? '')
    text(req).then(
      (set) => {
        const mood = moods.get(name)
        if (mood === 'fails') return void res.writeHead(500).end()
        if (mood === 'is silent') return
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
    moods,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}
