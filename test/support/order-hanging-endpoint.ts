import { type AddressInfo, createServer, type Socket } from 'node:net'

/** An endpoint that hangs: it takes connections and never answers. What was sent to it may be read any time later. */
export interface HangingEndpoint {
  readonly url: string
  /** How many connections were open as each one came, itself included. */
  readonly openAtArrival: readonly number[]
  close(): Promise<void>
}

export async function startHangingEndpoint(): Promise<HangingEndpoint> {
  const open = new Set<Socket>()
  const openAtArrival: number[] = []
  const listener = createServer((socket) => {
    open.add(socket)
    openAtArrival.push(open.size)
    // Without a reader the other side's end would go unseen.
    socket
      .resume()
      .on('error', () => {})
      .on('close', () => open.delete(socket))
  })
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(listener.address() as AddressInfo).port}/events`,
    openAtArrival,
    async close() {
      const closed = new Promise((resolve) => listener.close(resolve))
      for (const socket of open) socket.destroy()
      await closed
    },
  }
}
