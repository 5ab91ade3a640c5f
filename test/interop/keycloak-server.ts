import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pickFreePort } from '../../src/storage/postgres-server.js'
import { type HubApi, hubApi } from '../support/hub-api.js'
import { exitOf, plainEnvironment } from '../support/hub-process.js'
import { waitUntil } from '../support/wait.js'
import { startWatchdog } from '../support/watchdog.js'
import { INTEROP_CACHE } from './package-process.js'

const HOME = join(INTEROP_CACHE, 'keycloak')
const START_MS = 180_000
const REALM = 'demo'
const CLIENT = { id: 'firebreak', secret: 'of-the-hub-at-Keycloak' }
const USER = { name: 'alice', password: 'of alice' }
const SCOPES = ['ssf.read', 'ssf.manage']

export interface KeycloakEvent {
  readonly status: string
  readonly decodedSet: { readonly txn?: string }
}

/** A Keycloak with one realm whose SSF transmitter is on and knows one user and the hub as its receiver. */
export interface KeycloakServer {
  readonly issuer: string
  /** The hub's own client there, for `delivery.credentials`. */
  readonly credentials: object
  /** What the hub has there: one stream at most. */
  streams(): Promise<readonly object[]>
  /** What it says of a SET that it made for the hub. */
  outgoing(jti: string): Promise<KeycloakEvent>
  /** Alice signs in and out again. Answers the id of her session. */
  signInAndOut(): Promise<string>
  /** An admin sets a password for alice. Answers her id. */
  setPassword(): Promise<string>
  /** Alice signs in, and an admin ends all her sessions. */
  signInAndBeSignedOut(): Promise<void>
  stop(): Promise<void>
}

/**
 * @param audience what its SETs name as `aud`
 * @param hubUrl where it may push to
 */
export async function startKeycloak(audience: string, hubUrl: string): Promise<KeycloakServer> {
  if (!existsSync(join(HOME, '.complete')))
    throw new Error('Keycloak is not set up: run `npm run setup:test`')
  const folder = await mkdtemp(join(tmpdir(), 'firebreak-keycloak-'))
  const watchdog = startWatchdog(folder)
  const port = await pickFreePort()
  const base = `http://127.0.0.1:${port}`
  const issuer = `${base}/realms/${REALM}`
  const child = spawn(join(HOME, 'bin', 'kc.sh'), startArguments(port), {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      ...plainEnvironment(),
      KC_BOOTSTRAP_ADMIN_USERNAME: 'admin',
      KC_BOOTSTRAP_ADMIN_PASSWORD: 'admin',
      // The folder is on the command line for the watchdog. A short life gains nothing from the second compiler.
      JAVA_OPTS_APPEND: `-XX:TieredStopAtLevel=1 -Xmx512m -Djava.io.tmpdir=${folder}/`,
    },
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text
    })
  }
  const stop = async () => {
    child.kill('SIGTERM')
    await exitOf(child)
    await watchdog.dismiss()
  }

  async function token(realm: string, form: Record<string, string>): Promise<Record<string, string>> {
    const response = await fetch(`${base}/realms/${realm}/protocol/openid-connect/token`, {
      method: 'POST',
      body: new URLSearchParams(form),
      signal: AbortSignal.timeout(15_000),
    })
    const body = (await response.json()) as Record<string, string>
    if (!response.ok) throw new Error(`Keycloak gives no token: ${JSON.stringify(body)}`)
    return body
  }

  const asClient = { client_id: CLIENT.id, client_secret: CLIENT.secret }
  async function asReceiver() {
    const form = { ...asClient, grant_type: 'client_credentials', scope: SCOPES.join(' ') }
    return hubApi(() => `${issuer}/ssf/transmitter`, (await token(REALM, form)).access_token ?? '')
  }

  const signIn = async () =>
    await token(REALM, { ...asClient, grant_type: 'password', username: USER.name, password: USER.password })

  async function ofAlice(): Promise<{ id: string; admin: HubApi }> {
    const admin = await asAdmin()
    const [alice] = await admin.call<{ id: string }[]>('GET', `/${REALM}/users?username=${USER.name}`)
    if (!alice) throw new Error('alice is not there')
    return { id: alice.id, admin }
  }

  async function asAdmin() {
    const form = { grant_type: 'password', client_id: 'admin-cli', username: 'admin', password: 'admin' }
    return hubApi(() => `${base}/admin/realms`, (await token('master', form)).access_token ?? '')
  }

  try {
    await waitUntil(
      'Keycloak is started',
      async () => {
        if (child.exitCode !== null) throw new Error(`Keycloak has ended: ${output}`)
        return await answers(`${base}/realms/master`)
      },
      { deadlineMs: START_MS, detail: () => output.slice(-2_000) },
    )
    const admin = await asAdmin()
    await admin.call('POST', '', realmWith(audience, hubUrl))
    // Keycloak makes these scopes when the transmitter is on, after it has read the clients of a new realm.
    const scopes = await admin.call<{ id: string; name: string }[]>('GET', `/${REALM}/client-scopes`)
    const [client] = await admin.call<{ id: string }[]>('GET', `/${REALM}/clients?clientId=${CLIENT.id}`)
    for (const { id } of scopes.filter(({ name }) => SCOPES.includes(name))) {
      await admin.call('PUT', `/${REALM}/clients/${client?.id}/optional-client-scopes/${id}`)
    }
  } catch (error) {
    await stop()
    throw error
  }

  return {
    issuer,
    credentials: {
      client_id: CLIENT.id,
      client_secret: CLIENT.secret,
      authorization_server: issuer,
      scope: SCOPES.join(' '),
    },
    streams: async () => await (await asReceiver()).call('GET', '/streams'),
    outgoing: async (jti) =>
      await (await asAdmin()).call('GET', `/${REALM}/ssf/clients/${CLIENT.id}/pending-events/${jti}`),
    async signInAndOut() {
      const { refresh_token, session_state } = await signIn()
      const response = await fetch(`${issuer}/protocol/openid-connect/logout`, {
        method: 'POST',
        body: new URLSearchParams({ ...asClient, refresh_token: refresh_token ?? '' }),
        signal: AbortSignal.timeout(15_000),
      })
      if (!response.ok) throw new Error(`Keycloak did not sign alice out: ${response.status}`)
      return session_state ?? ''
    },
    async setPassword() {
      const { id, admin } = await ofAlice()
      const password = { type: 'password', value: USER.password, temporary: false }
      await admin.call('PUT', `/${REALM}/users/${id}/reset-password`, password)
      return id
    },
    async signInAndBeSignedOut() {
      await signIn()
      const { id, admin } = await ofAlice()
      await admin.call('POST', `/${REALM}/users/${id}/logout`)
    },
    stop,
  }
}

function startArguments(port: number): string[] {
  return [
    'start',
    '--optimized',
    '--cache=local',
    '--http-enabled=true',
    '--http-host=127.0.0.1',
    `--http-port=${port}`,
    `--hostname=http://127.0.0.1:${port}`,
    // Plain http and loopback, which its guard of outgoing requests refuses otherwise.
    '--spi-ssf-transmitter--default--allow-insecure-push-targets=true',
    '--spi-ssf-transmitter--default--outbox-drainer-interval=1s',
  ]
}

function realmWith(audience: string, hubUrl: string): object {
  return {
    realm: REALM,
    enabled: true,
    sslRequired: 'none',
    attributes: { 'ssf.transmitterEnabled': 'true' },
    clients: [
      {
        clientId: CLIENT.id,
        secret: CLIENT.secret,
        serviceAccountsEnabled: true,
        directAccessGrantsEnabled: true,
        attributes: {
          'ssf.enabled': 'true',
          'ssf.defaultSubjects': 'ALL',
          'ssf.streamAudience': audience,
          // By default the second stream of the same client would wait a minute for its verification.
          'ssf.minVerificationInterval': '0',
          'ssf.supportedEvents': 'CaepSessionRevoked,CaepCredentialChange',
          'ssf.validPushUrls': `${hubUrl}/*`,
        },
      },
    ],
    users: [
      {
        username: USER.name,
        enabled: true,
        email: 'alice@example.com',
        emailVerified: true,
        firstName: 'Alice',
        lastName: 'Example',
        credentials: [{ type: 'password', value: USER.password, temporary: false }],
      },
    ],
  }
}

async function answers(url: string): Promise<boolean> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(5_000) })
    await response.arrayBuffer()
    return response.ok
  } catch {
    return false
  }
}
