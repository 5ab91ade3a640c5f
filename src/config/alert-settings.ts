import { z } from 'zod'
import { isForeignIssuer, list, setting, whole } from './setting-types.js'

const SECRET = /^whsec_([A-Za-z0-9+/]+={0,2})$/
const DAY_MS = 86_400_000

/** Standard Webhooks 1.0.0: 24 to 64 random bytes. */
function isWebhookSecret(text: string): boolean {
  const bytes = Buffer.from(SECRET.exec(text)?.[1] ?? '', 'base64').length
  return bytes >= 24 && bytes <= 64
}

/** What is told, when, and where to. */
export const ALERT_SETTINGS = {
  ALERT_WEBHOOK_URL: setting(
    z
      .string()
      .refine(
        (value) => isForeignIssuer(value) && !value.includes('@'),
        'write an https URL without user and fragment (http only on loopback)',
      )
      .optional(),
    {
      section: 'Alerts',
      description:
        'Where alerts are posted, signed with ALERT_WEBHOOK_SECRET. A private address must be in FIREBREAK_ALLOWED_NETWORKS.',
      defaultText: 'nowhere',
      secret: true,
    },
  ),
  ALERT_WEBHOOK_SECRET: setting(
    list
      .refine(
        (secrets) => secrets.length <= 2 && secrets.every(isWebhookSecret),
        'write whsec_ and 24 to 64 bytes in base64, e.g. whsec_$(openssl rand -base64 32); while it is being replaced both, with a comma between',
      )
      .prefault(''),
    {
      section: 'Alerts',
      description:
        'Signs what is posted (Standard Webhooks): whsec_ and base64. While it is being replaced two, with a comma between.',
      defaultText: 'none',
      secret: true,
    },
  ),
  ALERT_LOG_FILE: setting(z.string().min(1).optional(), {
    section: 'Alerts',
    description: 'File that gets each alert as a line of JSON, for a SIEM; - is standard output.',
    defaultText: 'none',
  }),
  ALERT_STREAM_FAILING_MS: setting(whole(1_000, DAY_MS).prefault('60000'), {
    section: 'Alerts',
    description:
      'A stream is failing when its receiver has not taken a SET, or an upstream not answered a poll, for this long, in ms.',
  }),
  ALERT_REVOKE_OBJECTIVE_MS: setting(whole(100, DAY_MS).prefault('60000'), {
    section: 'Alerts',
    description:
      'Objective of time to revoke, in ms: until applied, or until received where the receiver does not report that.',
  }),
  ALERT_REVOKE_WINDOW_MS: setting(whole(10_000, 3_600_000).prefault('300000'), {
    section: 'Alerts',
    description:
      'How long a missed objective counts, in ms: the alert ends when none was missed for this long.',
  }),
  ALERT_LAG_MS: setting(whole(1_000, DAY_MS).prefault('30000'), {
    section: 'Alerts',
    description: 'Longest time that an accepted event may wait for its first sending, in ms.',
  }),
  ALERT_BROKER_FALLBACK_MS: setting(whole(0, DAY_MS).prefault('10000'), {
    section: 'Alerts',
    description: 'How long events may go around Kafka before it is told, in ms.',
  }),
  ALERT_CLOCK_SKEW_MS: setting(whole(100, DAY_MS).prefault('2000'), {
    section: 'Alerts',
    description:
      'How far the clock of a machine of the hub may be from the database’s, and that of a source ahead of it, in ms.',
  }),
} as const
