import { readFileSync } from 'node:fs'
import type { Config } from './config/config.js'
import { describeError, StartupError } from './kernel/errors.js'
import type { EgressProxy } from './outgoing/proxy-connect.js'
import { readTlsMaterial } from './outgoing/tls-material.js'

type EgressConfig = Pick<
  Config,
  'egressProxyUrl' | 'egressProxyCaFile' | 'egressProxyResolves' | 'egressProxyLocalNames' | 'pushTimeoutMs'
>

/** Keys are fetched within 3 s. */
const PROXY_ANSWERS_WITHIN_MS = 2_800

/** @throws StartupError for authorities of the proxy that cannot be used */
export function egressProxyOf(config: EgressConfig, nowMs: number): { proxy?: EgressProxy } {
  const { egressProxyUrl: url, egressProxyCaFile: caFile } = config
  if (!url) return {}
  return {
    proxy: {
      url,
      resolves: config.egressProxyResolves,
      localNames: config.egressProxyLocalNames,
      answersWithinMs: Math.min(PROXY_ANSWERS_WITHIN_MS, config.pushTimeoutMs * 0.9),
      ...(caFile ? { ca: readAuthorities(caFile, nowMs) } : {}),
    },
  }
}

function readAuthorities(file: string, nowMs: number): string {
  try {
    return readTlsMaterial({ ca: readFileSync(file, 'utf8') }, nowMs).ca as string
  } catch (cause) {
    throw new StartupError(
      `EGRESS_PROXY_CA_FILE: ${file} is not a readable PEM file of certificates (${describeError(cause)}).`,
      { cause },
    )
  }
}
