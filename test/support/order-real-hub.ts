import { mkdtemp, rm } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { loadConfig } from '../../src/config/config.js'
import { startHub } from '../../src/hub.js'
import { type Logger, silentLogger } from '../../src/kernel/logger.js'

/** A whole hub, wired as in production, known by its HTTP surface. */
export interface RealHub {
  readonly url: string
  readonly managementUrl: string
  /** As an operator, or with a receiver's token. Throws on an answer that is not 2xx. */
  call<T>(method: string, path: string, body?: object, token?: string): Promise<T>
  stop(): Promise<void>
}

export const ADMIN_TOKEN = 'fbk_op_in-process-tests-only'

/** @param options.env settings that differ from those of all such hubs */
export async function startRealHub(
  databaseUrl: string,
  options: { env?: Readonly<Record<string, string>>; logger?: Logger } = {},
): Promise<RealHub> {
  const dataDir = await mkdtemp(join(tmpdir(), 'firebreak-order-'))
  const port = await freePort()
  const url = `http://127.0.0.1:${port}`
  const hub = await startHub({
    config: loadConfig({
      DATABASE_URL: databaseUrl,
      DATA_DIR: dataDir,
      PORT: String(port),
      MANAGEMENT_PORT: '0',
      FIREBREAK_ADMIN_TOKEN: ADMIN_TOKEN,
      FIREBREAK_ALLOWED_NETWORKS: '127.0.0.0/8',
      ...options.env,
    }),
    logger: options.logger ?? silentLogger,
    onAdminToken() {},
    onProgress() {},
    onFatal(error) {
      throw error
    },
  })
  return {
    url,
    managementUrl: hub.managementUrl,
    async call<T>(method: string, path: string, body?: object, token = ADMIN_TOKEN) {
      const answer = await fetch(url + path, {
        method,
        headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
        ...(body && { body: JSON.stringify(body) }),
      })
      const text = await answer.text()
      if (!answer.ok) throw new Error(`${method} ${path} answered ${answer.status}: ${text}`)
      return (text ? JSON.parse(text) : undefined) as T
    },
    async stop() {
      await hub.stop()
      await rm(dataDir, { recursive: true, force: true })
    },
  }
}

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}

export interface NewReceiver {
  readonly id: string
  readonly audience: string
  readonly token: string
}

export async function addReceiver(hub: RealHub, body: object): Promise<NewReceiver> {
  const { id, audience } = await hub.call<{ id: string; audience: string }>('POST', '/v1/receivers', body)
  const scopes = ['ssf.read', 'ssf.manage']
  const { token } = await hub.call<{ token: string }>('POST', `/v1/receivers/${id}/tokens`, { scopes })
  return { id, audience, token }
}

/** SSF 1.0 §8.1.1.1, push. Answers the stream's id. */
export async function addStream(hub: RealHub, token: string, endpointUrl: string, types: string[]) {
  const delivery = { method: 'urn:ietf:rfc:8935', endpoint_url: endpointUrl }
  const body = { events_requested: types, delivery }
  return (await hub.call<{ stream_id: string }>('POST', '/ssf/streams', body, token)).stream_id
}
