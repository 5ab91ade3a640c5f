import { Agent, createServer, request } from 'node:http'
import type { AddressInfo } from 'node:net'

/** One address before several servers: each request goes to the next of them, as a balancer without memory sends it. */
export interface AlternatingDoor {
  readonly url: string
  readonly port: number
  close(): Promise<void>
}

/**
 * Says that each request came from an address of its own, so that what is counted by address does not add up.
 * @param targets ports on loopback, asked at each request
 */
export async function openAlternatingDoor(targets: () => readonly number[]): Promise<AlternatingDoor> {
  const agent = new Agent({ keepAlive: true })
  let turn = 0
  const server = createServer((req, res) => {
    const ports = targets()
    turn += 1
    const port = ports[turn % ports.length]
    const from = ['x-forwarded-for', `192.0.${(turn >> 8) & 255}.${turn & 255}`]
    const forwarded = request(
      // Raw, so that what a client sends twice arrives twice.
      {
        host: '127.0.0.1',
        port,
        method: req.method,
        path: req.url,
        agent,
        headers: [...req.rawHeaders, ...from] as never,
      },
      (answer) => {
        res.writeHead(answer.statusCode ?? 502, answer.rawHeaders)
        answer.pipe(res)
      },
    )
    forwarded.on('error', () => res.destroy())
    res.on('close', () => forwarded.destroy())
    req.pipe(forwarded)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}`,
    port,
    async close() {
      server.closeAllConnections()
      agent.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
