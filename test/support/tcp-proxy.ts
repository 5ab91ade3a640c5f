import { connect, createServer, type Socket } from 'node:net'

/** A TCP proxy on loopback whose answers a test can hold back or cut off. */
export interface TcpProxy {
  readonly port: number
  /** Keeps what the server answers until `release` (requests still go through). */
  holdAnswers(): void
  /** Keeps what clients ask until `release`: the server hears nothing new. */
  holdRequests(): void
  release(): void
  /** Like `holdAnswers`, for the connections of now only, and for ever: they stay open and say nothing. */
  freezeConnections(): void
  /** Bytes held back now. */
  held(): number
  /** Throws away what is held and breaks every connection: the client never learns what the server did. */
  cut(): void
  /** Breaks each new connection at once while true. */
  refuse(refusing: boolean): void
  connections(): number
  close(): Promise<void>
}

export async function startTcpProxy(options: { targetPort(): number; port?: number }): Promise<TcpProxy> {
  const pairs = new Set<{
    client: Socket
    server: Socket
    held: Buffer[]
    asked: Buffer[]
    frozen: boolean
  }>()
  let holding = false
  let holdingRequests = false
  let refusing = false

  const listener = createServer((client) => {
    if (refusing) return void client.destroy()
    const server = connect(options.targetPort(), '127.0.0.1')
    const pair = { client, server, held: [] as Buffer[], asked: [] as Buffer[], frozen: false }
    pairs.add(pair)
    const end = () => {
      client.destroy()
      server.destroy()
      pairs.delete(pair)
    }
    for (const socket of [client, server]) socket.on('error', end).on('close', end)
    client.on('data', (chunk) => {
      if (holdingRequests) pair.asked.push(chunk)
      else server.write(chunk)
    })
    server.on('data', (chunk) => {
      if (holding || pair.frozen) pair.held.push(chunk)
      else client.write(chunk)
    })
  })
  await new Promise<void>((resolve) => listener.listen(options.port ?? 0, '127.0.0.1', resolve))
  const address = listener.address()
  if (address === null || typeof address === 'string') throw new Error('no port')

  const proxy: TcpProxy = {
    port: address.port,
    holdAnswers() {
      holding = true
    },
    holdRequests() {
      holdingRequests = true
    },
    release() {
      holding = false
      holdingRequests = false
      for (const pair of pairs) {
        for (const chunk of pair.held.splice(0)) pair.client.write(chunk)
        for (const chunk of pair.asked.splice(0)) pair.server.write(chunk)
      }
    },
    freezeConnections() {
      for (const pair of pairs) pair.frozen = true
    },
    held: () => [...pairs].flatMap((pair) => pair.held).reduce((sum, chunk) => sum + chunk.length, 0),
    cut() {
      holding = false
      holdingRequests = false
      for (const pair of [...pairs]) {
        pair.client.destroy()
        pair.server.destroy()
      }
    },
    refuse(value) {
      refusing = value
    },
    connections: () => pairs.size,
    async close() {
      const closed = new Promise((resolve) => listener.close(resolve))
      proxy.cut()
      await closed
    },
  }
  return proxy
}
