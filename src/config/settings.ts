import { z } from 'zod'
import { ALERT_SETTINGS } from './alert-settings.js'
import { EGRESS_SETTINGS } from './egress-settings.js'
import { KEY_SETTINGS } from './key-settings.js'
import {
  flag,
  isCidr,
  isIssuer,
  isUrl,
  list,
  port,
  postgresUrl,
  type SettingMeta,
  setting,
  whole,
} from './setting-types.js'
import { TEST_SETTINGS } from './test-settings.js'

const ROLES = ['api', 'ingest', 'fanout', 'push', 'poll-upstream', 'upkeep'] as const
export type Role = (typeof ROLES)[number]

/** Every setting there is. The typed Config, `.env.example` and the README's table all come from here. */
export const SETTINGS = {
  HOST: setting(z.string().min(1).default('127.0.0.1'), {
    section: 'Server',
    description: 'Address the hub listens on.',
  }),
  PORT: setting(port.prefault('8080'), {
    section: 'Server',
    description: 'Port of the SSF endpoints, the ingest endpoint and the API.',
  }),
  MANAGEMENT_HOST: setting(z.string().min(1).default('127.0.0.1'), {
    section: 'Server',
    description: 'Address of the management port. It needs no token: keep it inside.',
  }),
  MANAGEMENT_PORT: setting(port.prefault('9090'), {
    section: 'Server',
    description: 'Port of /health/live, /health/ready and /metrics.',
  }),
  ISSUER: setting(
    z
      .string()
      .refine(
        isIssuer,
        'write an https URL without query, fragment or trailing slash (http only on loopback)',
      )
      .optional(),
    {
      section: 'Server',
      description: 'The issuer that receivers see in metadata, streams and SETs. https unless loopback.',
      defaultText: 'http://127.0.0.1:<PORT>',
    },
  ),
  ROLES: setting(
    list
      .refine(
        (roles) => roles.length > 0 && roles.every((role) => role === 'all' || ROLES.includes(role as Role)),
        `write all, or a list from ${ROLES.join(', ')}`,
      )
      .transform((roles): Role[] => (roles.includes('all') ? [...ROLES] : (roles as Role[])))
      .prefault('all'),
    {
      section: 'Server',
      description: `What this process does: all, or a list from ${ROLES.join(', ')}.`,
    },
  ),
  TLS_CERT_FILE: setting(z.string().min(1).optional(), {
    section: 'Server',
    description: 'PEM certificate chain. With TLS_KEY_FILE the hub serves https itself.',
  }),
  TLS_KEY_FILE: setting(z.string().min(1).optional(), {
    section: 'Server',
    description: 'PEM private key of TLS_CERT_FILE.',
  }),
  TRUSTED_PROXIES: setting(
    list.refine((cidrs) => cidrs.every(isCidr), 'write addresses or CIDRs, separated by commas').prefault(''),
    { section: 'Server', description: 'Proxies whose X-Forwarded-For is believed, as addresses or CIDRs.' },
  ),
  DRAIN_TIMEOUT_MS: setting(whole(0, 12_000).prefault('10000'), {
    section: 'Server',
    description:
      'How long SIGTERM waits for work in flight, in ms. Below the 15 s in which the process ends.',
  }),
  DATA_DIR: setting(z.string().min(1).default('.firebreak'), {
    section: 'Storage',
    description: 'Folder of the embedded PostgreSQL and of generated files.',
  }),
  DATABASE_URL: setting(postgresUrl.optional(), {
    section: 'Storage',
    description: 'PostgreSQL 15 or later. Unset: the hub runs its own embedded PostgreSQL in DATA_DIR.',
    defaultText: 'embedded PostgreSQL',
    secret: true,
  }),
  DATABASE_LISTEN_URL: setting(postgresUrl.optional(), {
    section: 'Storage',
    description: 'Direct connection for LISTEN/NOTIFY, when DATABASE_URL goes through a pooler.',
    defaultText: 'DATABASE_URL',
    secret: true,
  }),
  DATABASE_POOL_SIZE: setting(whole(2, 200).prefault('6'), {
    section: 'Storage',
    description:
      'Connections of each of the five work pools (control, urgent, routine, polls, API). A process opens 3 more for itself and 1 for LISTEN.',
  }),
  RETENTION_DAYS: setting(whole(15, 3_650).prefault('30'), {
    section: 'Storage',
    description:
      'Days that events, deliveries and acknowledgements are kept. Longer than DEDUPE_WINDOW_DAYS.',
  }),
  DEDUPE_WINDOW_DAYS: setting(whole(4, 90).prefault('14'), {
    section: 'Storage',
    description: 'Days in which a repeated SET is recognised, and the oldest log record that is believed.',
  }),
  CONTENT_RETENTION_DAYS: setting(whole(5, 3_650).optional(), {
    section: 'Storage',
    description:
      'Days that subjects and claims of events can be read; after that only their frame. Longer than DEDUPE_WINDOW_DAYS, at most RETENTION_DAYS.',
    defaultText: 'RETENTION_DAYS',
  }),
  UNDELIVERED_RETENTION_DAYS: setting(whole(1, 3_650).prefault('90'), {
    section: 'Storage',
    description:
      'Days that a SET waits for a receiver that does not take it. Then it ends as expired, with an error in the log.',
  }),
  PARKED_RETENTION_DAYS: setting(whole(1, 3_650).prefault('90'), {
    section: 'Storage',
    description:
      'Days that nobody settles what is parked, before it ends as expired. What is settled goes after RETENTION_DAYS.',
  }),
  HISTOGRAM_RETENTION_DAYS: setting(whole(15, 3_650).optional(), {
    section: 'Storage',
    description: 'Days that figures of time to revoke can be asked for. At least RETENTION_DAYS.',
    defaultText: '400, or RETENTION_DAYS when that is more',
  }),
  AUDIT_RETENTION_DAYS: setting(whole(30, 36_500).optional(), {
    section: 'Storage',
    description:
      'Days that audit rows are kept; what stays of older ones is the hash that the chain goes on from.',
    defaultText: 'for ever',
  }),
  KAFKA_BROKERS: setting(
    list
      .refine(
        (brokers) => brokers.every((broker) => /^[^\s:]+:\d{1,5}$|^\[[0-9a-fA-F:]+\]:\d{1,5}$/.test(broker)),
        'write host:port, several separated by commas',
      )
      .prefault(''),
    {
      section: 'Kafka',
      description: 'Brokers, host:port. Unset: the Postgres log.',
      defaultText: 'none: Postgres log',
    },
  ),
  KAFKA_TOPIC_PREFIX: setting(
    z
      .string()
      .regex(/^[A-Za-z0-9._-]{1,200}$/, 'write letters, digits, dots, underscores or hyphens')
      .default('firebreak'),
    { section: 'Kafka', description: 'Topics are <prefix>.control, <prefix>.urgent and <prefix>.routine.' },
  ),
  KAFKA_PARTITIONS: setting(whole(1, 64).prefault('12'), {
    section: 'Kafka',
    description: 'Partitions of a topic that the hub creates.',
  }),
  KAFKA_REPLICATION: setting(whole(1, 9).prefault('1'), {
    section: 'Kafka',
    description: 'Replicas of a topic that the hub creates. Use 3 in production; readiness warns below.',
  }),
  KAFKA_TIMEOUT_MS: setting(whole(100, 30_000).prefault('1000'), {
    section: 'Kafka',
    description: 'When the broker does not confirm in this time, events go to Postgres instead.',
  }),
  KAFKA_SSL: setting(flag.prefault('false'), {
    section: 'Kafka',
    description: 'Speak TLS to the brokers.',
  }),
  KAFKA_SSL_CA_FILE: setting(z.string().min(1).optional(), {
    section: 'Kafka',
    description: 'PEM file of the authority that signed the brokers’ certificates.',
  }),
  KAFKA_SSL_CERT_FILE: setting(z.string().min(1).optional(), {
    section: 'Kafka',
    description: 'PEM client certificate.',
  }),
  KAFKA_SSL_KEY_FILE: setting(z.string().min(1).optional(), {
    section: 'Kafka',
    description: 'PEM key of the client certificate.',
  }),
  KAFKA_SASL_MECHANISM: setting(
    z
      .enum(['plain', 'scram-sha-256', 'scram-sha-512'], 'write plain, scram-sha-256 or scram-sha-512')
      .optional(),
    { section: 'Kafka', description: 'plain, scram-sha-256 or scram-sha-512.' },
  ),
  KAFKA_SASL_USERNAME: setting(z.string().min(1).optional(), {
    section: 'Kafka',
    description: 'User for SASL.',
  }),
  KAFKA_SASL_PASSWORD: setting(z.string().min(1).optional(), {
    section: 'Kafka',
    description: 'Password for SASL.',
    secret: true,
  }),
  FIREBREAK_ADMIN_TOKEN: setting(
    z
      .string()
      .min(24, 'write at least 24 characters, e.g. the output of: openssl rand -base64 32')
      .optional(),
    {
      section: 'Security',
      description: 'Token of the first admin. Unset: one is made on first start and printed once.',
      defaultText: 'made on first start',
      secret: true,
    },
  ),
  FIREBREAK_MASTER_KEY: setting(
    z
      .string()
      .refine(
        (value) => Buffer.from(value, 'base64').length === 32,
        'write 32 bytes in base64, e.g. the output of: openssl rand -base64 32',
      )
      .optional(),
    {
      section: 'Security',
      description:
        'Encrypts keys and secrets at rest; the same for all processes. Unset: kept in the database.',
      defaultText: 'kept in the database',
      secret: true,
    },
  ),
  ...KEY_SETTINGS,
  FIREBREAK_ALLOWED_NETWORKS: setting(
    list
      .refine((cidrs) => cidrs.every(isCidr), 'write CIDRs such as 10.20.0.0/16, separated by commas')
      .prefault(''),
    {
      section: 'Security',
      description:
        'Private or loopback networks that outgoing requests may reach, as CIDRs. Plain http goes only to a listed loopback address.',
      defaultText: 'none',
    },
  ),
  ...EGRESS_SETTINGS,
  MAX_STREAMS_PER_RECEIVER: setting(whole(1, 100_000).prefault('100'), {
    section: 'Security',
    description: 'Streams that one receiver may hold.',
  }),
  MAX_SUBJECTS_PER_STREAM: setting(whole(1, 10_000_000).prefault('1000000'), {
    section: 'Security',
    description:
      'Subjects that one stream may add or remove; a complex one of 1, 2, 3, 4 … members counts as 1, 2, 4, 8 …',
  }),
  SUBJECT_REMOVAL_GRACE_S: setting(whole(0, 86_400).prefault('0'), {
    section: 'Security',
    description:
      'How long events about a subject still flow after a receiver removed it, in seconds (SSF 1.0 §9.3): a removal by an attacker then hides nothing at once.',
  }),
  LITERAL_COMPLEX_SUBJECTS: setting(flag.prefault('false'), {
    section: 'Security',
    description:
      'SSF 1.0 §8.1.3.1 to the letter: an added complex subject also matches events about a complex subject that has no member in common with it. Such an event then costs a look at all added complex subjects.',
  }),
  MIN_VERIFICATION_INTERVAL_S: setting(whole(0, 3_600).prefault('1'), {
    section: 'Security',
    description:
      'Shortest time between two verification requests of a stream, in seconds; advertised. 0: no limit.',
  }),
  INACTIVITY_TIMEOUT_S: setting(whole(60, 31_536_000).optional(), {
    section: 'Security',
    description: 'A stream whose receiver is silent for this long is paused, in seconds; advertised.',
    defaultText: 'never',
  }),
  PUSH_TIMEOUT_MS: setting(whole(100, 5_500).prefault('5000'), {
    section: 'Delivery',
    description:
      'Total deadline of one push attempt, in ms: DNS, TLS, headers and body. Below the shard lease of 8 s.',
  }),
  PUSH_CONCURRENCY: setting(whole(1, 64).prefault('12'), {
    section: 'Delivery',
    description:
      'Push requests in flight per stream in the urgent lane; a third as many in control, half as many in routine. Never more than 16 per endpoint and lane.',
  }),
  POLL_HOLD_MS: setting(whole(0, 55_000).prefault('25000'), {
    section: 'Delivery',
    description: 'How long an empty long poll is held, in ms. Below 60 s.',
  }),
  PAUSE_FAILING_AFTER_H: setting(whole(1, 2_160).prefault('24'), {
    section: 'Delivery',
    description:
      'A push stream whose endpoint does nothing but fail for this long is paused, in hours; its events are kept. 401, 403 and 410 pause sooner.',
  }),
  RECEIVED_DEADLINE_MS: setting(whole(100, 86_400_000).prefault('30000'), {
    section: 'Delivery',
    description: 'An event not received after this long counts as outstanding, in ms.',
  }),
  APPLIED_DEADLINE_MS: setting(whole(100, 86_400_000).prefault('60000'), {
    section: 'Delivery',
    description: 'An event not reported as applied after this long counts as outstanding, in ms.',
  }),
  VERIFIED_DEADLINE_MS: setting(whole(100, 86_400_000).prefault('120000'), {
    section: 'Delivery',
    description: 'An event whose effect no probe has seen after this long counts as outstanding, in ms.',
  }),
  ...ALERT_SETTINGS,
  LOG_LEVEL: setting(
    z.enum(['error', 'warn', 'info', 'debug'], 'write error, warn, info or debug').default('info'),
    {
      section: 'Logging',
      description: 'error, warn, info or debug.',
    },
  ),
  LOG_FORMAT: setting(z.enum(['pretty', 'json'], 'write pretty or json').optional(), {
    section: 'Logging',
    description: 'pretty or json.',
    defaultText: 'pretty on a terminal, else json',
  }),
  FIREBREAK_URL: setting(
    z
      .string()
      .refine(
        (value) => isUrl(value, ['https:', 'http:']),
        'write the hub’s URL, e.g. https://hub.example.com',
      )
      .optional(),
    {
      section: 'Command line',
      description: 'The hub that the command line talks to.',
      defaultText: 'the local hub, when its data folder is at hand',
    },
  ),
  FIREBREAK_TOKEN: setting(z.string().min(1).optional(), {
    section: 'Command line',
    description: 'Operator token that the command line uses.',
    defaultText: 'the local hub’s, when its data folder is at hand',
    secret: true,
  }),
  FIREBREAK_UPSTREAM_SECRET: setting(z.string().min(1).optional(), {
    section: 'Command line',
    description: 'Client secret, or token, of an upstream transmitter that transmitter add subscribes to.',
    secret: true,
  }),
  ...TEST_SETTINGS,
} as const

export type SettingName = keyof typeof SETTINGS

export function metaOf(name: SettingName): SettingMeta {
  return SETTINGS[name].meta() as unknown as SettingMeta
}
