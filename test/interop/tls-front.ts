import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { type AddressInfo, connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createServer } from 'node:tls'
import { promisify } from 'node:util'

/** Ends TLS in front of a plain server on this machine, for a package whose URLs are always https. */
export interface TlsFront {
  readonly port: number
  /** The certificate that clients have to trust, as a file. */
  readonly caFile: string
  close(): Promise<void>
}

/** @param backendPort asked at each connection */
export async function startTlsFront(backendPort: () => number): Promise<TlsFront> {
  const folder = await mkdtemp(join(tmpdir(), 'firebreak-tls-'))
  const [key, cert] = [join(folder, 'key.pem'), join(folder, 'cert.pem')]
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']
  const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=IP:127.0.0.1']
  await promisify(execFile)('openssl', ['req', '-x509', ...curve, '-keyout', key, '-out', cert, ...subject])
  const options = { key: await readFile(key), cert: await readFile(cert) }
  const open = new Set<{ destroy(): void }>()
  const server = createServer(options, (socket) => {
    const backend = connect(backendPort(), '127.0.0.1')
    for (const end of [socket, backend]) {
      open.add(end)
      // Either end takes the other along.
      end.once('close', () => {
        open.delete(end)
        socket.destroy()
        backend.destroy()
      })
      end.on('error', () => end.destroy())
    }
    socket.pipe(backend).pipe(socket)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    port: (server.address() as AddressInfo).port,
    caFile: cert,
    async close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()))
      for (const end of open) end.destroy()
      await closed
      await rm(folder, { recursive: true })
    },
  }
}
