import type { Clock } from '../kernel/clock.js'
import { describeError } from '../kernel/errors.js'
import type { Logger } from '../kernel/logger.js'
import type { Metrics } from '../kernel/metrics.js'
import type { Outgoing } from '../outgoing/outgoing.js'
import { createJwkSet, type JwkSet } from '../secevent/jwk-set.js'
import { type KeySource, KeysUnavailable } from '../secevent/verify-set.js'
import type { Transmitter } from './transmitter.js'

/** Whose keys they are, and where these stand: an upstream transmitter, or another issuer. */
export type KeyOwner = Pick<Transmitter, 'id' | 'version' | 'jwksUri' | 'jwks'> &
  Partial<Pick<Transmitter, 'name'>>

/** An issuer whose keys are needed and cannot be fetched. */
export interface FailingKeys {
  readonly id: string
  /** Absent when it is no transmitter. */
  readonly name: string | undefined
  readonly sinceMonotonicMs: number
  /** Until then those that are known count, ms; undefined when none does. */
  readonly lastForMs: number | undefined
}

export interface IssuerKeys {
  /** Those that were needed of late; each is asked for again now and then, so that an end is seen without a SET. */
  failing(): FailingKeys[]
  /**
   * The keys of a transmitter, for one SET.
   * @param arrivedAtMs on the monotonic clock: only a refresh begun after this proves that a key does not exist
   */
  sourceFor(transmitter: KeyOwner, arrivedAtMs: number): KeySource
}

export interface IssuerKeysOptions {
  outgoing: Pick<Outgoing, 'request'>
  clock: Clock
  logger: Logger
  metrics: Metrics
  /** Least time between two fetches of one issuer, failed ones too. Default 5 s. */
  cooldownMs?: number
  /** Keys older than this are fetched again in the background. Default 5 min: the longest a removed key is believed. */
  refreshAfterMs?: number
  /** While the issuer does not answer, its last keys count for this long. Default 24 h. */
  maxAgeMs?: number
}

const FETCH_DEADLINE_MS = 3_000
const MAX_JWKS_BYTES = 262_144
/** SETs of one issuer that may wait for its keys at once. */
const MAX_WAITING = 100
/** How often keys that cannot be fetched are asked for while somebody wants to know. */
const FAILING_RETRY_MS = 15_000
/** Keys that nobody needed for so long are nobody's trouble: their transmitter may be gone. */
const NEEDED_MS = 15 * 60_000

interface IssuerState {
  readonly uri: string
  set?: JwkSet
  /** Monotonic ms at which the fetch that gave `set` began. */
  setFromMs: number
  lastFetchMs: number
  fetching?: Promise<void>
  /** SETs that wait for the fetch. */
  waiting: number
  /** Monotonic ms of the first of the fetches that failed since one did not. */
  failingSinceMs?: number
  name: string | undefined
  neededMs: number
}

/**
 * Keys come from the registered place alone (SSF 1.0 §4.1.4). A key nobody knows is asked for once per cool-down, however many
 * SETs name one; until a fetch that began after the SET arrived has succeeded, the answer is "later", for a 400
 * would make the sender drop a true revocation.
 */
export function createIssuerKeys(options: IssuerKeysOptions): IssuerKeys {
  const { clock, logger, cooldownMs = 5_000, refreshAfterMs = 300_000, maxAgeMs = 86_400_000 } = options
  const refreshes = options.metrics.counter(
    'firebreak_issuer_key_refreshes_total',
    'Fetches of issuer keys, by result.',
    ['result'],
  )
  const remote = new Map<string, IssuerState>()
  const pinned = new Map<string, { version: number; set: JwkSet }>()

  function pinnedSet({ id, version, jwks }: KeyOwner): JwkSet {
    let entry = pinned.get(id)
    if (entry?.version !== version) {
      entry = { version, set: createJwkSet(jwks, clock.now) }
      pinned.set(id, entry)
    }
    return entry.set
  }

  function stateOf({ id, jwksUri = '', name }: KeyOwner): IssuerState {
    let state = remote.get(id)
    if (state?.uri !== jwksUri) {
      state = {
        uri: jwksUri,
        setFromMs: Number.NEGATIVE_INFINITY,
        lastFetchMs: Number.NEGATIVE_INFINITY,
        waiting: 0,
        name,
        neededMs: 0,
      }
      remote.set(id, state)
    }
    state.name = name
    state.neededMs = clock.monotonicMs()
    return state
  }

  async function fetchInto(state: IssuerState, transmitterId: string): Promise<void> {
    const beganMs = clock.monotonicMs()
    state.lastFetchMs = beganMs
    try {
      const answer = await options.outgoing.request({
        url: state.uri,
        method: 'GET',
        headers: { accept: 'application/jwk-set+json, application/json' },
        deadlineMs: FETCH_DEADLINE_MS,
        maxBytes: MAX_JWKS_BYTES,
        pool: 'metadata',
      })
      if (answer.status !== 200) throw new Error(`the JWKS endpoint answered ${answer.status}`)
      state.set = createJwkSet(JSON.parse(answer.body.toString('utf8')), clock.now)
      state.setFromMs = beganMs
      delete state.failingSinceMs
      refreshes.add({ result: 'ok' })
    } catch (error) {
      state.failingSinceMs ??= beganMs
      refreshes.add({ result: 'failed' })
      logger.warn('issuer_keys.refresh_failed', {
        transmitter_id: transmitterId,
        // Infinity, for never, is no JSON.
        age_s: state.set ? Math.round((beganMs - state.setFromMs) / 1000) : undefined,
        error: describeError(error),
      })
    }
  }

  /** Single flight. Undefined while cooling down. Never rejects. */
  function refresh(state: IssuerState, transmitterId: string): Promise<void> | undefined {
    if (state.fetching) return state.fetching
    if (clock.monotonicMs() - state.lastFetchMs < cooldownMs) return undefined
    state.fetching = fetchInto(state, transmitterId).finally(() => {
      delete state.fetching
    })
    return state.fetching
  }

  /** Anybody can name a key that does not exist: only so many may wait here, the others are told to come back. */
  async function waitForRefresh(state: IssuerState, transmitterId: string): Promise<void> {
    if (state.waiting >= MAX_WAITING) throw later(state)
    state.waiting += 1
    try {
      await refresh(state, transmitterId)
    } finally {
      state.waiting -= 1
    }
  }

  function usableSet(state: IssuerState): JwkSet | undefined {
    return clock.monotonicMs() - state.setFromMs <= maxAgeMs ? state.set : undefined
  }

  function later(state: IssuerState): KeysUnavailable {
    const waitMs = Math.max(0, state.lastFetchMs + cooldownMs - clock.monotonicMs())
    return new KeysUnavailable('The keys of the issuer cannot be fetched now; send the SET again later.', {
      retryAfterS: Math.max(1, Math.ceil(waitMs / 1000)),
    })
  }

  async function findRemote(transmitter: KeyOwner, header: KeyHeader, arrivedAtMs: number) {
    const state = stateOf(transmitter)
    const key = await usableSet(state)?.find(header)
    if (key) {
      if (clock.monotonicMs() - state.setFromMs > refreshAfterMs) void refresh(state, transmitter.id)
      return key
    }
    // Another SET's fetch may have come between.
    if (state.setFromMs < arrivedAtMs) await waitForRefresh(state, transmitter.id)
    const found = await usableSet(state)?.find(header)
    if (found || state.setFromMs >= arrivedAtMs) return found
    throw later(state)
  }

  function failing(): FailingKeys[] {
    const nowMs = clock.monotonicMs()
    return [...remote].flatMap(([id, state]) => {
      const { name, failingSinceMs: sinceMonotonicMs, setFromMs } = state
      if (sinceMonotonicMs === undefined || nowMs - state.neededMs > NEEDED_MS) return []
      if (nowMs - state.lastFetchMs > FAILING_RETRY_MS) void refresh(state, id)
      const leftMs = setFromMs + maxAgeMs - nowMs
      return [{ id, name, sinceMonotonicMs, lastForMs: leftMs > 0 ? leftMs : undefined }]
    })
  }

  return {
    failing,
    sourceFor: (transmitter, arrivedAtMs) => ({
      find(header) {
        if (!transmitter.jwks) return findRemote(transmitter, header, arrivedAtMs)
        // The address that its keys were at before is asked no more, and fails nobody.
        remote.delete(transmitter.id)
        return pinnedSet(transmitter).find(header)
      },
    }),
  }
}

type KeyHeader = Parameters<KeySource['find']>[0]
