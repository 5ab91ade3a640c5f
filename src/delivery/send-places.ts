import { LANES, type Lane } from '../secevent/event.js'

export interface SendPlacesOptions {
  /** Requests in flight in the whole process, per lane: a flood in one never takes the room of another. */
  readonly budgets?: Readonly<Record<Lane, number>>
  /** Requests in flight per endpoint and lane: as many as there are sockets, or they would wait at their own deadline. */
  readonly perEndpoint?: number
  /** An attempt that takes longer makes its endpoint a slow one. */
  readonly slowAfterMs?: number
  /** Slow endpoints that nothing is sent to are forgotten, the oldest first, when a lane has more. */
  readonly maxIdleSlow?: number
  /** A place may be free for this stream, which was refused one. */
  wake(streamId: string): void
}

/** Who may send, of all streams of this process. An endpoint is an origin, as sockets are. */
export interface SendPlaces {
  /** False: the stream is woken when it may. */
  mayStart(lane: Lane, streamId: string, endpoint: string): boolean
  /** @returns gives the place back; to be called exactly once */
  take(lane: Lane, endpoint: string): () => void
  /** What is in flight now. */
  inFlight(): { lane: Lane; standing: Standing; count: number }[]
  /** Endpoints that are remembered. */
  size(): number
}

type Standing = 'prompt' | 'slow'
const STANDINGS: readonly Standing[] = ['prompt', 'slow']

interface Endpoint {
  readonly name: string
  standing: Standing
  held: number
  /** Attempts under way that take long. */
  overdue: number
  /** Streams that wait for a place, the longest waiting first. */
  readonly waiting: Set<string>
}

const BUDGETS: Readonly<Record<Lane, number>> = { control: 64, urgent: 256, routine: 128 }
const PER_ENDPOINT = 16
const SLOW_AFTER_MS = 1_000
const MAX_IDLE_SLOW = 10_000

/**
 * Fair shares of what may be in flight (docs/adr/0030). Prompt endpoints share the lane's budget, slow ones have half as
 * much again for themselves, so that however many stall, a prompt one finds a place: what an endpoint holds when it turns
 * slow no longer counts among the prompt ones. Free places go round by endpoint, at an endpoint by stream.
 */
export function createSendPlaces(options: SendPlacesOptions): SendPlaces {
  const budgets = options.budgets ?? BUDGETS
  const lanes: Record<Lane, LanePlaces> = {
    control: createLanePlaces({ ...options, budget: budgets.control }),
    urgent: createLanePlaces({ ...options, budget: budgets.urgent }),
    routine: createLanePlaces({ ...options, budget: budgets.routine }),
  }
  const all = Object.values(lanes)
  return {
    mayStart: (lane, streamId, endpoint) => lanes[lane].mayStart(streamId, endpoint),
    take: (lane, endpoint) => lanes[lane].take(endpoint),
    inFlight: () =>
      LANES.flatMap((lane) =>
        STANDINGS.map((standing) => ({ lane, standing, count: lanes[lane].held(standing) })),
      ),
    size: () => all.reduce((sum, places) => sum + places.size(), 0),
  }
}

interface LanePlaces {
  mayStart(streamId: string, endpoint: string): boolean
  take(endpoint: string): () => void
  held(standing: Standing): number
  size(): number
}

function createLanePlaces(options: SendPlacesOptions & { budget: number }): LanePlaces {
  const { budget, perEndpoint = PER_ENDPOINT, slowAfterMs = SLOW_AFTER_MS } = options
  const { maxIdleSlow = MAX_IDLE_SLOW } = options
  const limits: Record<Standing, number> = { prompt: budget, slow: Math.max(1, Math.floor(budget / 2)) }
  const held: Record<Standing, number> = { prompt: 0, slow: 0 }
  const endpoints = new Map<string, Endpoint>()
  /** Endpoints where streams wait though the endpoint itself has room, in the order of their turns. */
  const queues: Record<Standing, Set<Endpoint>> = { prompt: new Set(), slow: new Set() }
  /** The one that has been idle for longest first. */
  const idleSlow = new Set<Endpoint>()

  /** Of one that is about to be in use. */
  function endpointOf(name: string): Endpoint {
    let endpoint = endpoints.get(name)
    if (!endpoint) {
      endpoint = { name, standing: 'prompt', held: 0, overdue: 0, waiting: new Set() }
      endpoints.set(name, endpoint)
    }
    idleSlow.delete(endpoint)
    return endpoint
  }

  function hasRoom({ held: own, standing }: Endpoint): boolean {
    return own < perEndpoint && held[standing] < limits[standing]
  }

  function queue(endpoint: Endpoint): void {
    if (endpoint.waiting.size > 0 && endpoint.held < perEndpoint) queues[endpoint.standing].add(endpoint)
  }

  function change(endpoint: Endpoint, standing: Standing): void {
    if (endpoint.standing === standing) return
    held[endpoint.standing] -= endpoint.held
    queues[endpoint.standing].delete(endpoint)
    endpoint.standing = standing
    held[standing] += endpoint.held
    queue(endpoint)
  }

  function nextInTurn(): Endpoint | undefined {
    for (const standing of STANDINGS) {
      if (held[standing] >= limits[standing]) continue
      for (const endpoint of queues[standing]) {
        queues[standing].delete(endpoint)
        if (endpoint.waiting.size > 0 && endpoint.held < perEndpoint) return endpoint
      }
    }
    return undefined
  }

  /** Wakes who waits, as long as there are places. */
  function feed(): void {
    for (let endpoint = nextInTurn(); endpoint; endpoint = nextInTurn()) {
      const [streamId] = endpoint.waiting as Set<string>
      endpoint.waiting.delete(streamId as string)
      queue(endpoint)
      options.wake(streamId as string)
      forgetIfIdle(endpoint)
    }
  }

  function forgetIfIdle(endpoint: Endpoint): void {
    if (endpoint.held > 0 || endpoint.waiting.size > 0) return
    if (endpoint.standing === 'prompt') endpoints.delete(endpoint.name)
    else idleSlow.add(endpoint)
    if (idleSlow.size <= maxIdleSlow) return
    const oldest = idleSlow.values().next().value as Endpoint
    idleSlow.delete(oldest)
    endpoints.delete(oldest.name)
  }

  return {
    mayStart(streamId, name) {
      const known = endpoints.get(name)
      if (known ? hasRoom(known) : held.prompt < limits.prompt) return true
      const endpoint = endpointOf(name)
      endpoint.waiting.add(streamId)
      queue(endpoint)
      return false
    },

    take(name) {
      const endpoint = endpointOf(name)
      endpoint.held += 1
      held[endpoint.standing] += 1
      let isOverdue = false
      const timer = setTimeout(() => {
        isOverdue = true
        endpoint.overdue += 1
        change(endpoint, 'slow')
        feed()
      }, slowAfterMs)
      timer.unref()
      return () => {
        clearTimeout(timer)
        endpoint.held -= 1
        held[endpoint.standing] -= 1
        if (isOverdue) endpoint.overdue -= 1
        else if (endpoint.overdue === 0) change(endpoint, 'prompt')
        queue(endpoint)
        feed()
        forgetIfIdle(endpoint)
      }
    },

    held: (standing) => held[standing],
    size: () => endpoints.size,
  }
}
