import type { StreamMethod } from '../ingest/stream-plan.js'

/** Where a transmitter is managed (SSF 1.0 §7.1). What is absent it does not offer. */
export interface SsfEndpoints {
  readonly configuration: string
  readonly status?: string
  readonly verification?: string
  readonly methods: readonly StreamMethod[]
}

export const METHOD_URI: Readonly<Record<StreamMethod, string>> = {
  push: 'urn:ietf:rfc:8935',
  poll: 'urn:ietf:rfc:8936',
}

/** Undefined without a configuration endpoint: then no stream can be made. Unknown members are ignored. */
export function parseEndpoints(document: Readonly<Record<string, unknown>>): SsfEndpoints | undefined {
  const text = (name: string) => (typeof document[name] === 'string' ? (document[name] as string) : undefined)
  const configuration = text('configuration_endpoint')
  if (configuration === undefined) return undefined
  const [status, verification] = [text('status_endpoint'), text('verification_endpoint')]
  const named = document.delivery_methods_supported
  return {
    configuration,
    ...(status !== undefined && { status }),
    ...(verification !== undefined && { verification }),
    // A transmitter that does not say is asked.
    methods: (['push', 'poll'] as const).filter(
      (method) => !Array.isArray(named) || named.includes(METHOD_URI[method]),
    ),
  }
}
