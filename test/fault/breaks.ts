import { spawn } from 'node:child_process'
import { cp, mkdtemp, readFile, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { ROOT } from '../support/source-files.js'
import { startWatchdog } from '../support/watchdog.js'
import type { SuiteReport } from './report.js'

/** Changes of the compiled hub under which a row must fail: a check that never failed shows nothing. */
interface Break {
  readonly rows: readonly string[]
  /** Below dist/src. */
  readonly file: string
  /** Stands there exactly once. */
  readonly from: string
  readonly to: string
}

const BREAKS: readonly Break[] = [
  // What every row looks at: L1 and L4 of what loosens access, L7 though the row asks for metrics every 100 ms.
  {
    rows: ['D6'],
    file: 'delivery/sender.js',
    from: 'else if (row.superseded)',
    to: "else if (row.superseded || row.delivery.effect === 'loosens')",
  },
  {
    rows: ['D6'],
    file: 'delivery/fan-out.js',
    from: 'event.quarantine === undefined)',
    to: "event.effect !== 'loosens')",
  },
  {
    rows: ['E5'],
    file: 'delivery/fan-out.js',
    from: "crashpoint('fanout.read');",
    to: 'if ((globalThis.n = 1 + (globalThis.n ?? 0)) === 15) for (const end = performance.now() + 3_000; performance.now() < end; );',
  },
  {
    rows: ['C1', 'C2', 'P2'],
    file: 'ingest/set-ingest.js',
    from: 'await within(appendDeadlineMs, options.log.append([event]));',
    to: 'void options.log.append([event]).catch(() => {});',
  },
  { rows: ['C10'], file: 'hub.js', from: "setPhase('draining');", to: '' },
  {
    rows: ['E3'],
    file: 'outgoing/retry-after.js',
    from: 'Math.min(Math.max(ms, 0), maxMs)',
    to: 'Math.max(ms, 0)',
  },
  { rows: ['C5', 'T4'], file: 'storage/leases.js', from: 'LEASE_MS = 8_000', to: 'LEASE_MS = 80_000' },
  {
    rows: ['P1', 'P3', 'P4', 'P6', 'P7'],
    file: 'ingest/ingest-answers.js',
    from: "headers['Retry-After'] = Math.ceil(error.retryAfterS);",
    to: '',
  },
  {
    rows: ['E2'],
    file: 'outgoing/exchange.js',
    from: 'Math.max(0, request.endsAtMs - performance.now())',
    to: '9_000',
  },
  {
    rows: ['E4'],
    file: 'outgoing/exchange.js',
    from: 'status = statusCode;',
    to: "status = statusCode; if (received.location) fetch(received.location, { method: 'POST' }).catch(() => {});",
  },
  {
    rows: ['E5'],
    file: 'outgoing/exchange.js',
    from: 'if (bytes > request.maxBytes)',
    to: 'if (bytes > 1e9)',
  },
  {
    rows: ['E7'],
    file: 'delivery/attempt-result.js',
    from: "outcome: 'park', code: outcome.code,",
    to: "outcome: 'park', code: 'refused',",
  },
  {
    rows: ['S1', 'S2', 'S3'],
    file: 'ingest/ingest-answers.js',
    from: 'send(res, error.status, { body: toSetError(',
    to: 'send(res, 500, { body: toSetError(',
  },
  { rows: ['S4'], file: 'delivery/fan-out.js', from: 'event.quarantine === undefined', to: 'true' },
  { rows: ['S5'], file: 'delivery/fan-out.js', from: "'set.conflicting_repeat'", to: "'set.repeat'" },
  { rows: ['J1'], file: 'ingest/issuer-keys.js', from: '<= maxAgeMs', to: '<= 1e12' },
  { rows: ['J2'], file: 'ingest/issuer-keys.js', from: 'cooldownMs = 5_000', to: 'cooldownMs = 25_000' },
  { rows: ['J3'], file: 'ingest/issuer-keys.js', from: 'cooldownMs = 5_000', to: 'cooldownMs = 1' },
  {
    rows: ['J4'],
    file: 'ingest/issuer-keys.js',
    from: 'refreshAfterMs = 300_000',
    to: 'refreshAfterMs = 3e9',
  },
  {
    rows: ['J6'],
    file: 'ingest/issuer-keys.js',
    from: 'if (found || state.setFromMs >= arrivedAtMs)',
    to: 'if (found || state.setFromMs < arrivedAtMs)',
  },
  {
    rows: ['R1', 'R2', 'R3'],
    file: 'outgoing/url-rules.js',
    from: 'function checkAddress(target, address) {',
    to: 'function checkAddress(target, address) { return;',
  },
  {
    rows: ['R4'],
    file: 'outgoing/url-rules.js',
    from: "if (url.protocol !== 'https:' && url.protocol !== 'http:')",
    to: 'if (false)',
  },
  {
    rows: ['R5'],
    file: 'outgoing/exchange.js',
    from: 'const { target } = request;',
    to: 'const { target } = request; fetch(process.env.HTTP_PROXY).catch(() => {});',
  },
  {
    rows: ['D1'],
    file: 'http/server.js',
    from: 'connectionsCheckingInterval: 500',
    to: 'connectionsCheckingInterval: 5e6',
  },
  {
    rows: ['D3'],
    file: 'http/server.js',
    from: 'noDelay: true,',
    to: 'noDelay: true, insecureHTTPParser: true,',
  },
  { rows: ['D4'], file: 'delivery/poll-router.js', from: "jsonBody('1mb')", to: "jsonBody('64mb')" },
  { rows: ['D6'], file: 'auth/attempt-limiter.js', from: 'window.count <= failures', to: 'true' },
  {
    rows: ['T1', 'T2', 'T3'],
    file: 'kernel/clock.js',
    from: 'now: () => baseMs + performance.now()',
    to: 'now: () => Date.now()',
  },
  {
    rows: ['X1'],
    file: 'ingest/ingest-handler.js',
    from: 'checkAuthorization(req, transmitter);',
    to: "checkAuthorization(req, transmitter); options.logger.info('push.begun', req.headers);",
  },
  { rows: ['X2'], file: 'audit/audit-chain.js', from: "reason: 'changed'", to: "reason: 'missing'" },
  {
    rows: ['U1'],
    file: 'storage/migrator.js',
    from: 'return pending.length > 0 || (needs',
    to: 'return true || (needs',
  },
  {
    rows: ['C4', 'C7', 'K9'],
    file: 'delivery/fan-out.js',
    from: 'if (!earlier) {',
    to: 'if (true) {',
  },
  {
    rows: ['C8'],
    file: 'delivery/queue-repository.js',
    from: 'order by q.lane, q.event_id\n       limit ?`, [streamId, limit]',
    to: 'and q.delivered_at is null order by q.lane, q.event_id limit ?`, [streamId, limit]',
  },
  {
    rows: ['K1', 'K2'],
    file: 'eventlog/failover-event-log.js',
    from: 'await orUnavailable(viaPostgres(records));',
    to: 'throw error;',
  },
  {
    rows: ['K3'],
    file: 'eventlog/failover-event-log.js',
    from: 'ids = await postgres.appendRecords(records);',
    to: '',
  },
  {
    rows: ['K5'],
    file: 'delivery/fan-out.js',
    from: 'found.items.flatMap(({ rejected: one }) => (one ? [one] : []))',
    to: '[]',
  },
  { rows: ['P8'], file: 'storage/database.js', from: 'max: options.max,', to: 'max: 10 * options.max,' },
  {
    rows: ['E1', 'E9'],
    file: 'delivery/attempt-result.js',
    from: 'if (isHopeless)',
    to: 'if (true)',
  },
  {
    rows: ['E6'],
    file: 'outgoing/guarded-connect.js',
    from: 'rejectUnauthorized: true',
    to: 'rejectUnauthorized: false',
  },
  { rows: ['E8'], file: 'delivery/failure-class.js', from: "pauses: 'at_once'", to: "pauses: 'late'" },
  { rows: ['E11'], file: 'delivery/send-places.js', from: 'PER_ENDPOINT = 16', to: 'PER_ENDPOINT = 2' },
  { rows: ['E12'], file: 'delivery/endpoint-health.js', from: 'probeWaitMs(rounds, restMs)', to: '90_000' },
  {
    rows: ['J5'],
    file: 'keys/rotation-service.js',
    from: 'leadMs: now ? atOnce(leadMs) : leadMs',
    to: 'leadMs: 1',
  },
  {
    rows: ['O2'],
    file: 'delivery/sender.js',
    from: '.finally(leave)',
    to: ".then((outcome) => { if (outcome.class === 'received') leave(); return outcome; })",
  },
  { rows: ['O3'], file: 'ingest/source-budget.js', from: 'if (bucket.total < 1)', to: 'if (false)' },
  {
    rows: ['O4'],
    file: 'streams/stream-matching.js',
    from: 'else coalesce(hit.added, false) end',
    to: 'else true end',
  },
  { rows: ['O5'], file: 'delivery/prepare-event.js', from: '...(fact && {', to: '...(false && {' },
]

const rowsAsked = process.argv.slice(2)
const folder = await mkdtemp(join(tmpdir(), 'firebreak-break-'))
const watchdog = startWatchdog(folder)
let silent = 0
try {
  for (const part of ['dist', 'migrations', 'schemas', 'package.json', 'docs']) {
    await cp(join(ROOT, part), join(folder, part), { recursive: true })
  }
  for (const part of ['node_modules', '.cache']) await symlink(join(ROOT, part), join(folder, part))
  for (const each of BREAKS) {
    const file = join(folder, 'dist', 'src', each.file)
    const whole = await readFile(file, 'utf8')
    if (whole.split(each.from).length !== 2) throw new Error(`${each.file} does not have once: ${each.from}`)
    await writeFile(
      file,
      whole.replace(each.from, () => each.to),
    )
    for (const row of each.rows) {
      if (rowsAsked.length > 0 && !rowsAsked.includes(row)) continue
      const report = await runRow(row)
      if (report.ok) silent += 1
      console.log(
        `| ${row} | \`${each.file}\`: ${each.to || 'nothing'} | ${report.ok ? '**HELD**' : report.seen} |`,
      )
    }
    await writeFile(file, whole)
  }
} finally {
  await watchdog.dismiss()
}
process.exitCode = silent > 0 ? 1 : 0

async function runRow(row: string): Promise<{ ok: boolean; seen: string }> {
  const child = spawn(
    process.execPath,
    [join(folder, 'dist/test/fault/run.js'), '--rows', row, '--seed', '7', '--json'],
    {
      stdio: ['ignore', 'pipe', 'ignore'],
    },
  )
  const { rows } = JSON.parse(await text(child.stdout)) as SuiteReport
  const seen = (rows[0]?.seen ?? 'no report')
    .replace(/ \(logs: .*/s, '')
    .replace(/\s+/g, ' ')
    .replaceAll('|', '\\|')
  return { ok: rows[0]?.ok ?? false, seen: seen.slice(0, 160) }
}
