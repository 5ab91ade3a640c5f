import { z } from 'zod'
import { flag, isUrl, list, setting } from './setting-types.js'

const HOST_NAME = /^[a-z0-9]([a-z0-9_-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9_-]*[a-z0-9])?)*$/

/** http or https with nothing but host, port, user and password. */
function isProxyUrl(value: string): boolean {
  if (!isUrl(value, ['http:', 'https:'])) return false
  const { hostname, pathname, search, hash, username, password } = new URL(value)
  return hostname !== '' && pathname === '/' && !search && !hash && isEncoded(username + password)
}

function isEncoded(text: string): boolean {
  try {
    decodeURIComponent(text)
    return true
  } catch {
    return false
  }
}

/** The way out of a network that lets a proxy out alone. */
export const EGRESS_SETTINGS = {
  EGRESS_PROXY_URL: setting(
    z
      .string()
      .refine(isProxyUrl, 'write http://proxy.example.com:3128, or https://, with user:password@ if it asks')
      .optional(),
    {
      section: 'Security',
      description:
        'HTTP proxy for all outgoing requests but those to FIREBREAK_ALLOWED_NETWORKS. HTTP_PROXY and its like are not read.',
      defaultText: 'none',
      secret: true,
    },
  ),
  EGRESS_PROXY_CA_FILE: setting(z.string().min(1).optional(), {
    section: 'Security',
    description: 'PEM file of the authority of an https proxy. Unset: the system’s authorities.',
  }),
  EGRESS_PROXY_RESOLVES: setting(flag.prefault('false'), {
    section: 'Security',
    description:
      'The proxy looks names up, where the hub cannot. The hub then sees no addresses of names: the proxy must refuse inside ones.',
  }),
  EGRESS_PROXY_LOCAL_NAMES: setting(
    list
      .transform((names) => names.map((name) => name.toLowerCase().replace(/^\.|\.$/g, '')))
      .refine(
        (names) => names.every((name) => HOST_NAME.test(name)),
        'write names such as corp.example.com, separated by commas',
      )
      .prefault(''),
    {
      section: 'Security',
      description:
        'With EGRESS_PROXY_RESOLVES: names, and all below them, that the hub looks up itself and reaches directly when they lie on FIREBREAK_ALLOWED_NETWORKS.',
      defaultText: 'none',
    },
  ),
} as const
