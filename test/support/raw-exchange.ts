import { connect } from 'node:net'

/**
 * Sends bytes to a port of this machine and answers all that comes until the connection ends.
 * @param end when this side ends: once an answer has begun, or at once
 */
export function exchange(port: number, text: string, end: 'answered' | 'sent' = 'answered'): Promise<string> {
  return new Promise((resolve) => {
    let seen = ''
    const socket = connect(port, '127.0.0.1', () => {
      socket.write(text)
      if (end === 'sent') socket.end()
    })
    const timer = setTimeout(() => socket.destroy(), 20_000)
    socket
      .on('data', (chunk) => {
        seen += chunk.toString('latin1')
        if (end === 'answered' && seen.includes('\r\n\r\n')) socket.end()
      })
      .on('error', () => {})
      .on('close', () => {
        clearTimeout(timer)
        resolve(seen)
      })
  })
}
