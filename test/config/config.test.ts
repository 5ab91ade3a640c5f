import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  describeConfig,
  InvalidConfig,
  issuerOf,
  loadClientConfig,
  loadConfig,
  SETTING_NAMES,
} from '../../src/config/config.js'

function faultsOf(env: NodeJS.ProcessEnv): string[] {
  try {
    loadConfig(env)
  } catch (error) {
    assert.ok(error instanceof InvalidConfig)
    return [...error.faults]
  }
  assert.fail('the settings were accepted')
}

describe('config', () => {
  let folder: string
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'firebreak-config-'))
  })
  after(() => rmSync(folder, { recursive: true }))

  it('has a sensible default for every setting', () => {
    const config = loadConfig({})
    assert.equal(config.port, 8080)
    assert.equal(config.host, '127.0.0.1')
    assert.equal(issuerOf(config), 'http://127.0.0.1:8080')
    assert.deepEqual(config.kafkaBrokers, [])
    assert.ok(config.roles.includes('push'))
    assert.ok(Object.isFrozen(config))
  })

  it('names every wrong setting at once, and what to write', () => {
    const faults = faultsOf({ PORT: '99999', ROLES: 'api,chef', KAFKA_BROKERS: 'broker', LOG_LEVEL: 'loud' })
    assert.equal(faults.length, 4)
    assert.match(faults.join('\n'), /PORT: write a port number/)
    assert.match(faults.join('\n'), /ROLES: write all, or a list from api/)
    assert.match(faults.join('\n'), /KAFKA_BROKERS: write host:port/)
    assert.match(faults.join('\n'), /LOG_LEVEL: write error, warn, info or debug/)
  })

  const wrong: [string, string, string][] = [
    ['PORT', '-1', 'port number'],
    ['PORT', '80a', 'port number'],
    ['MANAGEMENT_PORT', 'x', 'port number'],
    ['ISSUER', 'http://hub.example.com', 'https'],
    ['ISSUER', 'https://hub.example.com/', 'trailing slash'],
    ['ISSUER', 'https://hub.example.com?x=1', 'query'],
    ['ROLES', ',', 'write all'],
    ['DRAIN_TIMEOUT_MS', '1.5', 'whole number'],
    ['DRAIN_TIMEOUT_MS', '12001', 'to 12000'],
    ['DATABASE_URL', 'mysql://localhost/x', 'postgres://'],
    ['DATABASE_LISTEN_URL', 'nonsense', 'postgres://'],
    ['DATABASE_POOL_SIZE', '1', 'from 2'],
    ['RETENTION_DAYS', '1', 'from 15'],
    ['DEDUPE_WINDOW_DAYS', '1', 'from 4'],
    ['CONTENT_RETENTION_DAYS', '4', 'from 5'],
    ['CONTENT_RETENTION_DAYS', 'month', 'whole number'],
    ['CONTENT_RETENTION_DAYS', '14', 'more than DEDUPE_WINDOW_DAYS'],
    ['CONTENT_RETENTION_DAYS', '31', 'RETENTION_DAYS or less'],
    ['UNDELIVERED_RETENTION_DAYS', '0', 'from 1'],
    ['PARKED_RETENTION_DAYS', '0', 'from 1'],
    ['HISTOGRAM_RETENTION_DAYS', '14', 'from 15'],
    ['HISTOGRAM_RETENTION_DAYS', '29', 'RETENTION_DAYS or more'],
    ['AUDIT_RETENTION_DAYS', '29', 'from 30'],
    ['KAFKA_TOPIC_PREFIX', 'a b', 'letters'],
    ['KAFKA_PARTITIONS', '65', 'to 64'],
    ['KAFKA_REPLICATION', '0', 'from 1'],
    ['KAFKA_TIMEOUT_MS', '1', 'from 100'],
    ['KAFKA_SSL', 'yes', 'true or false'],
    ['KAFKA_SASL_MECHANISM', 'gssapi', 'scram'],
    ['FIREBREAK_ADMIN_TOKEN', 'short', '24 characters'],
    ['FIREBREAK_MASTER_KEY', 'abc', '32 bytes'],
    ['SIGNING_KEY_LEAD_S', '3', 'from 4'],
    ['SIGNING_KEY_GRACE_S', '9', 'from 10'],
    ['SIGNING_KEY_ROTATE_DAYS', '0', 'from 1'],
    ['OAUTH_ISSUER', 'http://as.example.com', 'https'],
    ['OAUTH_ISSUER', 'https://user@as.example.com', 'https'],
    ['OAUTH_CLIENT_CLAIM', 'a b', 'name of a claim'],
    ['FIREBREAK_ALLOWED_NETWORKS', '10.0.0.0/33', 'CIDR'],
    ['TRUSTED_PROXIES', 'proxy', 'CIDR'],
    ['MAX_STREAMS_PER_RECEIVER', '0', 'from 1'],
    ['PUSH_TIMEOUT_MS', '1', 'from 100'],
    ['PUSH_CONCURRENCY', '0', 'from 1'],
    ['POLL_HOLD_MS', '60000', 'to 55000'],
    ['PAUSE_FAILING_AFTER_H', '0', 'from 1'],
    ['PAUSE_FAILING_AFTER_H', '2161', 'to 2160'],
    ['PAUSE_FAILING_AFTER_H', '1.5', 'whole'],
    ['RECEIVED_DEADLINE_MS', '0', 'from 100'],
    ['APPLIED_DEADLINE_MS', '0', 'from 100'],
    ['ALERT_STREAM_FAILING_MS', '999', 'from 1000'],
    ['ALERT_REVOKE_OBJECTIVE_MS', '99', 'from 100'],
    ['ALERT_REVOKE_WINDOW_MS', '3600001', 'to 3600000'],
    ['ALERT_LAG_MS', 'long', 'whole number'],
    ['ALERT_BROKER_FALLBACK_MS', '-1', 'from 0'],
    ['ALERT_CLOCK_SKEW_MS', '0', 'from 100'],
    ['LOG_FORMAT', 'xml', 'pretty or json'],
    ['FIREBREAK_URL', 'hub', 'URL'],
  ]
  for (const [name, value, text] of wrong) {
    it(`refuses ${name}=${value} and says what to write`, () => {
      const faults = faultsOf({ [name]: value })
      assert.equal(faults.length, 1)
      assert.ok(faults[0]?.startsWith(`${name}: `) && faults[0].includes(text), faults[0])
    })
  }

  it('takes a webhook with one secret, or two while it is replaced, and shows neither', () => {
    const ALERT_WEBHOOK_URL = 'https://hooks.example.com/T0/canary-path?x=1'
    const [first = '', second = ''] = [1, 2].map(
      (byte) => `whsec_${Buffer.alloc(32, byte).toString('base64')}`,
    )
    const config = loadConfig({ ALERT_WEBHOOK_URL, ALERT_WEBHOOK_SECRET: `${first}, ${second}` })
    assert.deepEqual(config.alertWebhookSecret, [first, second])
    const shown = JSON.stringify(describeConfig(config))
    for (const canary of ['canary-path', first, second]) assert.ok(!shown.includes(canary))
    const plain = describeConfig(loadConfig({})).find(({ name }) => name === 'ALERT_WEBHOOK_SECRET')
    assert.deepEqual(plain, { name: 'ALERT_WEBHOOK_SECRET', value: 'none', isDefault: true })
    for (const url of ['http://hooks.example.com/', 'https://a:b@hooks.example.com/', 'ftp://x', 'hooks']) {
      const faults = faultsOf({ ALERT_WEBHOOK_URL: url, ALERT_WEBHOOK_SECRET: first })
      assert.deepEqual([faults.length, faults[0]?.includes(url)], [1, false])
      assert.match(faults[0] ?? '', /^ALERT_WEBHOOK_URL: write an https URL/)
    }
    const short = `whsec_${Buffer.alloc(23).toString('base64')}`
    const long = `whsec_${Buffer.alloc(65).toString('base64')}`
    for (const secret of ['hunter2', first.slice(6), short, long, `${first},${second},${first}`, 'whsec_!']) {
      const faults = faultsOf({ ALERT_WEBHOOK_URL, ALERT_WEBHOOK_SECRET: secret })
      assert.match(faults.join(), /^ALERT_WEBHOOK_SECRET: write whsec_ and 24 to 64 bytes/)
      assert.ok(!faults.join().includes(secret))
    }
    assert.match(faultsOf({ ALERT_WEBHOOK_URL }).join(), /set both or neither/)
    assert.match(faultsOf({ ALERT_WEBHOOK_SECRET: first }).join(), /set both or neither/)
  })

  it('takes an egress proxy, and shows no password of it', () => {
    const EGRESS_PROXY_URL = 'https://hub:canary%40@proxy.example.com:3128'
    const config = loadConfig({
      EGRESS_PROXY_URL,
      EGRESS_PROXY_CA_FILE: 'ca.pem',
      EGRESS_PROXY_RESOLVES: 'true',
      EGRESS_PROXY_LOCAL_NAMES: '.Corp.Example.com, gw',
    })
    assert.equal(config.egressProxyUrl, EGRESS_PROXY_URL)
    assert.equal(config.egressProxyResolves, true)
    assert.deepEqual(config.egressProxyLocalNames, ['corp.example.com', 'gw'])
    const shown = JSON.stringify(describeConfig(config))
    assert.ok(shown.includes('proxy.example.com:3128') && !shown.includes('canary'))
    const byToken = JSON.stringify(
      describeConfig(loadConfig({ EGRESS_PROXY_URL: 'http://canary@proxy.example.com:3128' })),
    )
    assert.ok(byToken.includes('proxy.example.com:3128') && !byToken.includes('canary'), byToken)
    const { egressProxyUrl, egressProxyResolves, egressProxyLocalNames } = loadConfig({})
    assert.deepEqual([egressProxyUrl, egressProxyResolves, egressProxyLocalNames], [undefined, false, []])
  })

  it('refuses what is no proxy, and settings of a proxy that is not there', () => {
    const urls = [
      'proxy:3128',
      'socks5://canary',
      'http://canary/path',
      'http://canary?x',
      'http://%zz@canary',
    ]
    for (const url of urls) {
      const [fault = '', ...more] = faultsOf({ EGRESS_PROXY_URL: url })
      assert.match(fault, /^EGRESS_PROXY_URL: write http:\/\/proxy/)
      assert.deepEqual([more, fault.includes('canary')], [[], false])
    }
    const names = { EGRESS_PROXY_URL: 'http://p', EGRESS_PROXY_RESOLVES: 'true' }
    for (const bad of ['*.corp', 'a b', 'https://x', 'a..b']) {
      assert.match(
        faultsOf({ ...names, EGRESS_PROXY_LOCAL_NAMES: bad }).join(),
        /^EGRESS_PROXY_LOCAL_NAMES: write/,
      )
    }
    const alone: [Record<string, string>, RegExp][] = [
      [{ EGRESS_PROXY_RESOLVES: 'true' }, /^EGRESS_PROXY_RESOLVES: set EGRESS_PROXY_URL/],
      [{ EGRESS_PROXY_RESOLVES: 'maybe', EGRESS_PROXY_URL: 'http://p' }, /write true or false/],
      [
        { EGRESS_PROXY_LOCAL_NAMES: 'x', EGRESS_PROXY_URL: 'http://p' },
        /it is for EGRESS_PROXY_RESOLVES=true/,
      ],
      [{ EGRESS_PROXY_CA_FILE: 'x' }, /it is for an https EGRESS_PROXY_URL/],
      [{ EGRESS_PROXY_CA_FILE: 'x', EGRESS_PROXY_URL: 'http://p' }, /it is for an https EGRESS_PROXY_URL/],
    ]
    for (const [env, says] of alone) assert.match(faultsOf(env).join(), says)
  })

  it('refuses half of a pair', () => {
    assert.match(faultsOf({ TLS_CERT_FILE: 'a.pem' }).join(), /TLS_KEY_FILE/)
    assert.match(faultsOf({ KAFKA_SASL_USERNAME: 'a' }).join(), /KAFKA_SASL_PASSWORD/)
    assert.match(faultsOf({ RETENTION_DAYS: '20', DEDUPE_WINDOW_DAYS: '20' }).join(), /RETENTION_DAYS/)
    assert.match(
      faultsOf({ KAFKA_BROKERS: 'a:1', DEDUPE_WINDOW_DAYS: '7' }).join(),
      /^DEDUPE_WINDOW_DAYS: with Kafka/,
    )
    assert.equal(loadConfig({ DEDUPE_WINDOW_DAYS: '7' }).dedupeWindowDays, 7)
    assert.equal(loadConfig({ RETENTION_DAYS: '1000' }).retentionDays, 1_000)
    const master = Buffer.alloc(32).toString('base64')
    assert.match(faultsOf({ FIREBREAK_MASTER_KEY_PREVIOUS: master }).join(), /set FIREBREAK_MASTER_KEY too/)
    assert.match(
      faultsOf({ FIREBREAK_MASTER_KEY: master, FIREBREAK_MASTER_KEY_PREVIOUS: 'x' }).join(),
      /32 bytes/,
    )
    const OAUTH_ISSUER = 'https://as.example.com/'
    assert.equal(loadConfig({ OAUTH_ISSUER, OAUTH_AUDIENCE: 'hub' }).oauthClientClaim, 'client_id')
    for (const [name, value] of Object.entries({
      OAUTH_AUDIENCE: 'hub',
      OAUTH_JWKS_URI: 'https://as.example.com/keys',
    })) {
      assert.match(faultsOf({ [name]: value }).join(), /^OAUTH_ISSUER: set it too/)
    }
    for (const [name, value] of Object.entries({
      OAUTH_INTROSPECTION_ENDPOINT: 'https://as.example.com/introspect',
      OAUTH_INTROSPECTION_CLIENT_ID: 'hub',
      OAUTH_INTROSPECTION_CLIENT_SECRET: 'secret',
    })) {
      assert.match(faultsOf({ OAUTH_ISSUER, [name]: value }).join(), /set all three or none/)
    }
    for (const name of ['OAUTH_JWKS_URI', 'OAUTH_INTROSPECTION_ENDPOINT']) {
      assert.match(
        faultsOf({ OAUTH_ISSUER, [name]: 'ftp://x' }).join(),
        new RegExp(`${name}: write an https URL`),
      )
    }
    assert.match(faultsOf({ PORT: '9090' }).join(), /MANAGEMENT_PORT/)
    assert.match(faultsOf({ PORT: '0', ROLES: 'push' }).join(), /^ISSUER: /)
  })

  it('refuses a misspelt FIREBREAK_ setting instead of ignoring it', () => {
    assert.match(
      faultsOf({ FIREBREAK_ALLOWED_NETWORK: '127.0.0.0/8' }).join(),
      /FIREBREAK_ALLOWED_NETWORK: there is no/,
    )
  })

  it('ignores what Kubernetes sets for Services named firebreak, and nothing that only looks like it', () => {
    const service = {
      FIREBREAK_SERVICE_HOST: '10.0.0.1',
      FIREBREAK_SERVICE_PORT: '8080',
      FIREBREAK_SERVICE_PORT_HTTP: '8080',
      FIREBREAK_PORT: 'tcp://10.0.0.1:8080',
      FIREBREAK_PORT_8080_TCP: 'tcp://10.0.0.1:8080',
      FIREBREAK_PORT_8080_TCP_PROTO: 'tcp',
      FIREBREAK_PORT_8080_TCP_PORT: '8080',
      FIREBREAK_PORT_8080_TCP_ADDR: '10.0.0.1',
      FIREBREAK_MANAGEMENT_SERVICE_HOST: '10.0.0.2',
      FIREBREAK_MANAGEMENT_PORT: 'tcp://10.0.0.2:9090',
    }
    assert.equal(loadConfig(service).port, 8080)
    assert.match(faultsOf({ FIREBREAK_PORT: '8081' }).join(), /^FIREBREAK_PORT: there is no/)
    assert.match(faultsOf({ FIREBREAK_SERVICE: 'x' }).join(), /^FIREBREAK_SERVICE: there is no/)
  })

  it('takes a secret from a file, and never from both', () => {
    const file = join(folder, 'token')
    writeFileSync(file, 'a-token-of-more-than-24-characters\n')
    assert.equal(
      loadConfig({ FIREBREAK_ADMIN_TOKEN_FILE: file }).firebreakAdminToken,
      'a-token-of-more-than-24-characters',
    )
    const both = {
      FIREBREAK_ADMIN_TOKEN_FILE: file,
      FIREBREAK_ADMIN_TOKEN: 'a-token-of-more-than-24-characters',
    }
    assert.match(faultsOf(both).join(), /not both/)
    assert.match(
      faultsOf({ FIREBREAK_ADMIN_TOKEN_FILE: '/nonexistent' }).join(),
      /FIREBREAK_ADMIN_TOKEN_FILE: cannot read/,
    )
  })

  it('masks secrets wherever it shows them', () => {
    const env = {
      FIREBREAK_TOKEN: 'canary-token-value',
      DATABASE_URL: 'postgres://user:canary-pass@db:5432/x',
    }
    const shown = JSON.stringify(describeConfig(loadConfig(env)))
    assert.ok(!shown.includes('canary'), shown)
    assert.ok(shown.includes('db:5432'))
    const faults = faultsOf({ FIREBREAK_MASTER_KEY: 'canary', DATABASE_URL: 'mysql://u:canary@h/x' }).join()
    assert.ok(!faults.includes('canary'), faults)
  })

  it('shows nothing of a secret that only looks like a URL, and no password of a query', () => {
    const env: [NodeJS.ProcessEnv, string][] = [
      [{ FIREBREAK_TOKEN: 'canary:x@y' }, ''],
      [
        { DATABASE_URL: 'postgres://fb@db:5432/fb?sslmode=require&password=canary' },
        'db:5432/fb?sslmode=require',
      ],
      [{ DATABASE_URL: 'postgres://:canary@db:5432/fb' }, ''],
    ]
    for (const [given, kept] of env) {
      const shown = JSON.stringify(describeConfig(loadConfig(given)))
      assert.ok(!shown.includes('canary') && shown.includes(kept), shown)
    }
  })

  it('asks a client command for its own settings alone', () => {
    assert.deepEqual(
      loadClientConfig({ PORT: 'x', FIREBREAK_TYPO: '1', FIREBREAK_URL: 'https://hub.example.com' }),
      {
        firebreakUrl: 'https://hub.example.com',
        firebreakToken: undefined,
        firebreakUpstreamSecret: undefined,
        dataDir: '.firebreak',
      },
    )
    assert.throws(() => loadClientConfig({ FIREBREAK_URL: 'hub' }), /FIREBREAK_URL: write the hub’s URL/)
  })

  it('describes every setting', () => {
    assert.equal(describeConfig(loadConfig({})).length, SETTING_NAMES.length)
  })

  it('gives and shows the value in force of what follows another setting', () => {
    const shown = (env: Record<string, string>) =>
      describeConfig(loadConfig(env))
        .filter(({ name }) => ['CONTENT_RETENTION_DAYS', 'HISTOGRAM_RETENTION_DAYS'].includes(name))
        .map(({ value, isDefault }) => [value, isDefault])
    assert.deepEqual(shown({}), [
      ['30', true],
      ['400', true],
    ])
    assert.deepEqual(shown({ RETENTION_DAYS: '500' }), [
      ['500', true],
      ['500', true],
    ])
    assert.deepEqual(shown({ CONTENT_RETENTION_DAYS: '20', HISTOGRAM_RETENTION_DAYS: '401' }), [
      ['20', false],
      ['401', false],
    ])
    assert.equal(loadConfig({ RETENTION_DAYS: '40' }).contentRetentionDays, 40)
  })
})
