import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { addPushStream, addReceiver, hubApi } from '../../support/hub-api.js'
import { startSink } from '../../support/set-sink.js'
import { createUpstream, HUB_AUDIENCE, SESSION_REVOKED } from '../../support/upstream.js'
import { waitUntil } from '../../support/wait.js'
import type { FaultHub, FaultRig } from '../rig.js'
import type { Row } from '../row.js'
import { ask } from '../sql.js'

/** Every row of every table, as COPY would write it; bytes in hex. */
async function copyOfAll(url: string): Promise<Map<string, string>> {
  const tables = await ask<{ name: string }>(
    url,
    `select quote_ident(relname) as name from pg_class c join pg_namespace n on n.oid = relnamespace
     where nspname = 'public' and relkind in ('r', 'p') and not relispartition`,
  )
  const copies = new Map<string, string>()
  for (const { name } of tables) {
    const rows = await ask<{ line: string }>(url, `select t::text as line from ${name} t`)
    copies.set(name, rows.map(({ line }) => line).join('\n'))
  }
  return copies
}

const canary = (name: string) => `canary-${name}-${randomBytes(12).toString('hex')}`

interface Places {
  readonly secrets: Readonly<Record<string, string>>
  readonly answers: readonly string[]
}

/** Each kind of secret that the hub is given or gives, once, with a failure in its way. */
async function plant(rig: FaultRig, hub: FaultHub): Promise<Places> {
  const scene = rig.scenes[0] as FaultRig['scenes'][number]
  const secrets: Record<string, string> = {
    'admin token': hub.adminToken,
    'header of pushes to us': `Bearer ${canary('sender')}`,
    'header of pushes from us': `Bearer ${canary('endpoint')}`,
    'a person': canary('person'),
    'a claim': canary('claim'),
    'a wrong token': canary('guess'),
    'master key': hub.env.FIREBREAK_MASTER_KEY as string,
  }
  const answers: string[] = []
  const upstream = await createUpstream('guarded')
  const { id } = await scene.admin.call<{ id: string }>('POST', '/v1/transmitters', {
    name: 'guarded',
    issuer: upstream.issuer,
    audience: HUB_AUDIENCE,
    algorithms: ['ES256'],
    jwks: upstream.jwks,
    authorization_header: secrets['header of pushes to us'],
  })
  const { token } = await addReceiver(scene.admin, 'guarded', { signing_alg: 'ES256' })
  secrets['token of a receiver'] = token
  const sink = await startSink(() => {})
  rig.atEnd(() => sink.close())
  const receiver = hubApi(() => hub.url, token)
  const streamId = await addPushStream(receiver, sink.url, [SESSION_REVOKED])
  await receiver.call('PATCH', '/ssf/streams', {
    stream_id: streamId,
    delivery: {
      method: 'urn:ietf:rfc:8935',
      endpoint_url: sink.url,
      authorization_header: secrets['header of pushes from us'],
    },
  })
  let failures = 0
  sink.answerWith(() =>
    ++failures < 3 ? 500 : { status: 400, body: { err: 'invalid_request', description: 'no' } },
  )
  for (const authorization of [secrets['header of pushes to us'], `Bearer ${secrets['a wrong token']}`]) {
    const person = secrets['a person'] as string
    const set = await upstream.sign({
      txn: `about ${failures}`,
      user: person,
      claims: { reason_admin: { en: secrets['a claim'] } },
    })
    const response = await fetch(`${hub.url}/ingest/${id}`, {
      method: 'POST',
      headers: { 'content-type': 'application/secevent+jwt', authorization: authorization as string },
      body: set,
    })
    answers.push(await response.text())
  }
  const guess = hubApi(() => hub.url, secrets['a wrong token'] as string)
  answers.push(JSON.stringify(await guess.ask('GET', '/v1/receivers')))
  await waitUntil('the endpoint refused it', () => failures >= 3)
  return { secrets, answers }
}

const planted: Row = {
  id: 'X1',
  title: 'secrets and persons of known names in every field, with failures in their way',
  expected: 'in no log line, metric, answer of an error or row of any table',
  quick: true,
  async run(rig) {
    const masterKey = randomBytes(32).toString('base64')
    const hub = await rig.hub({ env: { LOG_LEVEL: 'debug', FIREBREAK_MASTER_KEY: masterKey } })
    const scene = await rig.scene([hub], { push: 1, poll: 1 })
    const load = rig.load(scene)
    const { secrets, answers } = await rig.during(() => plant(rig, hub))
    await load.stop()
    await waitUntil(
      'it is parked',
      async () => (await ask(scene.databaseUrl, 'select id from parked')).length > 0,
    )
    const metrics = await (await fetch(`${hub.managementUrl}/metrics`)).text()
    const places = new Map([
      ...(await copyOfAll(scene.databaseUrl)),
      ['the log', hub.output()],
      ['the metrics', metrics],
      ['an answer', answers.join('\n')],
    ])
    const found: string[] = []
    for (const [what, secret] of Object.entries(secrets)) {
      const bare = secret.replace(/^Bearer /, '')
      for (const [place, text] of places) {
        if (text.includes(bare) || text.includes(Buffer.from(bare).toString('hex')))
          found.push(`${what} in ${place}`)
      }
    }
    assert.deepEqual(found, [])
    return `${Object.keys(secrets).length} of them, looked for in ${places.size} places`
  },
}

const changed: Row = {
  id: 'X2',
  title: 'one row of the audit log is changed, another taken out, past the hub',
  expected: 'the check names the first row that does not fit',
  quick: true,
  async run(rig) {
    const hub = await rig.hub()
    const scene = await rig.scene([hub])
    type Verdict = { ok: boolean; seq?: number; reason?: string }
    const verdict = () => scene.admin.call<Verdict>('GET', '/v1/audit/verification')
    const sealed = () =>
      ask<{ seq: number }>(
        scene.databaseUrl,
        'select seq::int as seq from audit_log where seq is not null order by seq',
      )
    await waitUntil('rows are sealed', async () => (await sealed()).length >= 4)
    assert.equal((await verdict()).ok, true)
    const [, second, third] = (await sealed()).map(({ seq }) => seq)
    await rig.during(async () => {
      await ask(scene.databaseUrl, `update audit_log set actor = 'operator:nobody' where seq = $1`, [third])
      const changedOne = await verdict()
      assert.deepEqual([changedOne.ok, changedOne.seq, changedOne.reason], [false, third, 'changed'])
      await ask(scene.databaseUrl, 'delete from audit_log where seq = $1', [second])
      const missingOne = await verdict()
      assert.equal(missingOne.ok, false)
      assert.equal(missingOne.seq, second)
    })
    return `the changed row ${third} and the missing row ${second} were named`
  },
}

export const SECRET_ROWS: readonly Row[] = [planted, changed]
