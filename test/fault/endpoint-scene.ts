import { waitUntil } from '../support/wait.js'
import { attemptsOf } from './endpoint-watch.js'
import { ACCEPTED, type RawRequest, startRawEndpoint } from './raw-endpoint.js'
import type { FaultHub, FaultRig, FaultScene } from './rig.js'
import type { RunningLoad } from './running-load.js'

export const TIMEOUT_MS = 2_000
export interface Ready {
  readonly hub: FaultHub
  readonly scene: FaultScene
}

export async function oneHub(rig: FaultRig, env: Record<string, string> = {}): Promise<Ready> {
  const hub = await rig.hub({ env: { PUSH_TIMEOUT_MS: String(TIMEOUT_MS), ...env } })
  return { hub, scene: await rig.scene([hub], { push: 1, poll: 0 }) }
}

/** The healthy stream gets all that was accepted so far, whatever its neighbours do. */
export async function healthyIsServed({ ledger }: FaultScene): Promise<void> {
  const due = new Set(ledger.missing('push 1'))
  const isServed = () => !ledger.missing('push 1').some((txn) => due.has(txn))
  await waitUntil('the healthy stream has all', isServed, { deadlineMs: 20_000 })
}

/** Each of them has failed so often, and says why. */
export async function failures(
  { hub, scene }: Ready,
  names: readonly string[],
  least = 2,
): Promise<string[]> {
  const found = (name: string) =>
    attemptsOf(hub, scene.streamIds.get(name)).filter(({ outcome }) => outcome !== 'received')
  await waitUntil('each has failed', () => names.every((name) => found(name).length >= least), {
    deadlineMs: 40_000,
    detail: () => names.map((name) => `${name}: ${found(name).length}`).join(', '),
  })
  return names.map((name) => `${name}: ${found(name).at(-1)?.reason ?? found(name).at(-1)?.outcome}`)
}

/** Raw endpoints that misbehave until they are mended; then they take what comes, and the ledger hears of it. */
export async function misbehaving(
  rig: FaultRig,
  here: Ready,
  kinds: Readonly<Record<string, (request: RawRequest) => void>>,
): Promise<{ load: RunningLoad; mend(): void }> {
  const endpoints: { mend(): void }[] = []
  for (const [name, answer] of Object.entries(kinds)) {
    const endpoint = await startRawEndpoint(answer)
    rig.atEnd(() => endpoint.close())
    await here.scene.addPushTo(name, endpoint.url)
    endpoints.push({
      mend: () =>
        endpoint.answerWith(({ socket, body }) => {
          here.scene.ledger.received(name, body)
          socket.write(ACCEPTED)
        }),
    })
  }
  return {
    load: rig.load(here.scene),
    mend: () => {
      for (const endpoint of endpoints) endpoint.mend()
    },
  }
}
