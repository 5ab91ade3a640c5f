import { pickFreePort } from '../../src/storage/postgres-server.js'
import { startPackage } from './package-process.js'
import { startTlsFront } from './tls-front.js'

/** What receivers told it. */
export interface SignerState {
  readonly streams: readonly { readonly stream_id: string }[]
  readonly acknowledged: readonly string[]
  readonly errors: readonly (readonly [jti: string, error: { readonly err: string }])[]
  readonly queued: number
}

/** The transmitter of `easyssf-test`, behind TLS because its URLs are https. */
export interface EasyssfSigner {
  readonly issuer: string
  /** The certificate that a hub has to trust, as a file for NODE_EXTRA_CA_CERTS. */
  readonly caFile: string
  /** Credentials that its token endpoint takes; its metadata do not say where that is. */
  readonly credentials: object
  /** Makes a SET, bob's session revoked, and queues it for who polls. */
  sign(claims: object): Promise<string>
  state(): Promise<SignerState>
  stop(): Promise<void>
}

export async function startEasyssfSigner(): Promise<EasyssfSigner> {
  const port = await pickFreePort()
  const front = await startTlsFront(() => port)
  const host = `127.0.0.1:${front.port}`
  const process = startPackage<Record<string, unknown>>('easyssf-transmitter-process', { port, host })
  const { issuer } = (await process.line('the transmitter is there', () => true)) as { issuer: string }
  return {
    issuer,
    caFile: front.caFile,
    credentials: {
      client_id: 'receiver',
      client_secret: 'receiver-secret',
      token_endpoint: `${issuer}/token`,
    },
    async sign(claims) {
      const event = { event_type: 'CaepSessionRevoked', user: 'bob', session: 'session of bob' }
      const { set } = (await process.ask({ ...event, claims })) as { set: string }
      return set
    },
    state: async () => (await process.ask({})) as unknown as SignerState,
    async stop() {
      await process.stop()
      await front.close()
    },
  }
}
