import { waitUntil } from '../support/wait.js'
import type { FaultScene } from './rig.js'

/** Waits until an alert of this kind is open about something whose name begins so. */
export async function alertIsOpen({ admin }: FaultScene, kind: string, start = ''): Promise<void> {
  await waitUntil(`an alert ${kind} tells of ${start || 'it'}`, async () => {
    const { items } = await admin.call<{ items: { object: string }[] }>('GET', `/v1/alerts?kind=${kind}`)
    return items.some(({ object }) => object.startsWith(start))
  })
}
