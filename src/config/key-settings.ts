import { z } from 'zod'
import { isForeignIssuer, list, setting, whole } from './setting-types.js'

/** Keys of the hub, and who issues the receivers’ tokens. */
export const KEY_SETTINGS = {
  FIREBREAK_MASTER_KEY_PREVIOUS: setting(
    z
      .string()
      .refine(
        (value) => Buffer.from(value, 'base64').length === 32,
        'write the 32 bytes in base64 that FIREBREAK_MASTER_KEY was before',
      )
      .optional(),
    {
      section: 'Security',
      description:
        'The master key before the present one, while it is being replaced: what it sealed is opened, and sealed under the new one.',
      defaultText: 'none',
      secret: true,
    },
  ),
  SIGNING_KEY_LEAD_S: setting(whole(4, 2_592_000).prefault('3600'), {
    section: 'Security',
    description:
      'How long a new signing key is published before it signs, in seconds: longer than receivers cache keys. The same for all processes.',
  }),
  SIGNING_KEY_GRACE_S: setting(whole(10, 31_536_000).prefault('86400'), {
    section: 'Security',
    description:
      'How long a replaced signing key stays published after its last signature, in seconds, and longer while a SET that it signed is open.',
  }),
  SIGNING_KEY_ROTATE_DAYS: setting(whole(1, 3_650).optional(), {
    section: 'Security',
    description: 'A signing key this old is replaced by itself, in days.',
    defaultText: 'never',
  }),
  SIGNING_KEY_FILES: setting(list.prefault(''), {
    section: 'Security',
    description:
      'PEM files of the private keys that sign SETs: one RSA of 2048 bits or more, one EC on P-256, or either. A replaced file is a rotation.',
    defaultText: 'none: keys are generated',
  }),
  OAUTH_ISSUER: setting(
    z
      .string()
      .refine(isForeignIssuer, 'write the https URL that is the issuer of its tokens (http only on loopback)')
      .optional(),
    {
      section: 'Security',
      description:
        'Authorization server that issues the receivers’ access tokens, in place of the hub’s own, which is then off.',
      defaultText: 'the hub itself',
    },
  ),
  OAUTH_AUDIENCE: setting(z.string().min(1).optional(), {
    section: 'Security',
    description: 'What tokens of OAUTH_ISSUER must name in `aud`.',
    defaultText: 'ISSUER',
  }),
  OAUTH_JWKS_URI: setting(
    z.string().refine(isForeignIssuer, 'write an https URL (http only on loopback)').optional(),
    {
      section: 'Security',
      description: 'Keys of OAUTH_ISSUER. Unset: its metadata (RFC 8414, else OpenID Connect) says where.',
      defaultText: 'from its metadata',
    },
  ),
  OAUTH_CLIENT_CLAIM: setting(
    z
      .string()
      .regex(/^[\w:/.-]{1,100}$/, 'write the name of a claim, such as client_id or azp')
      .default('client_id'),
    { section: 'Security', description: 'Claim of its tokens that names the client.' },
  ),
  OAUTH_INTROSPECTION_ENDPOINT: setting(
    z.string().refine(isForeignIssuer, 'write an https URL (http only on loopback)').optional(),
    {
      section: 'Security',
      description:
        'Where OAUTH_ISSUER tells whether a token is revoked (RFC 7662). Unset: only JWTs of an hour at most are believed.',
      defaultText: 'none',
    },
  ),
  OAUTH_INTROSPECTION_CLIENT_ID: setting(z.string().min(1).optional(), {
    section: 'Security',
    description: 'Name of the hub at that endpoint.',
  }),
  OAUTH_INTROSPECTION_CLIENT_SECRET: setting(z.string().min(1).optional(), {
    section: 'Security',
    description: 'Secret of the hub at that endpoint.',
    secret: true,
  }),
} as const
