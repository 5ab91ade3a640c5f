import assert from 'node:assert/strict'
import type { SendItem } from '../../src/delivery/open-delivery.js'
import type { DeliveryResult } from '../../src/delivery/queue-repository.js'
import { createStreamSender } from '../../src/delivery/stream-sender.js'
import type { StreamSenderDeps } from '../../src/delivery/stream-sender-deps.js'
import type { StreamTarget } from '../../src/delivery/stream-target-repository.js'
import { createClock } from '../../src/kernel/clock.js'
import { waitUntil } from '../support/wait.js'

const targetOf = (endpointUrl: string, version: number): StreamTarget => ({
  streamId: 's',
  receiverId: 'r',
  shard: 0,
  version,
  method: 'push',
  endpointUrl,
  authorization: undefined,
  audience: 'a',
  alg: 'RS256',
  acceptsAny2xx: false,
  sending: true,
  noticesOnly: false,
  pausedForFailing: false,
  record: undefined,
})

const item = (eventId: string): SendItem => ({
  streamId: 's',
  eventId,
  receiverId: 'r',
  shard: 0,
  lane: 'urgent',
  type: 't',
  effect: 'tightens',
  sourceId: 'source',
  txn: eventId,
  orderKey: eventId,
  acceptedAtMs: 0,
  rendering: 1,
  attempts: 0,
  queuedAtMs: 0,
  content: { subject: { format: 'opaque', id: eventId }, claims: {} },
  bytes: 100,
})

function rig(overrides: Partial<StreamSenderDeps>) {
  const sentTo: string[] = []
  const sender = createStreamSender({
    clock: createClock(),
    lease: () => ({ unit: 0, epoch: 1, endsAtMonotonicMs: Number.POSITIVE_INFINITY }),
    loadTarget: async () => targetOf('https://new.example.com', 2),
    claim: async () => ({ due: [], stale: [], ungranted: [], unreadable: [] }),
    nextTryMs: async () => undefined,
    attempt: async (_item, target) => {
      sentTo.push(target.endpointUrl ?? '')
      return { class: 'received' }
    },
    writeResult: async () => {},
    room: { count() {}, hasRoom: () => true },
    mayStart: () => true,
    wakeAt() {},
    attemptTimeoutMs: 1_000,
    limits: { control: 1, urgent: 4, routine: 1 },
    onFailing() {},
    onRecovered() {},
    onUnasked() {},
    onUnreadable: (error) => assert.fail(error as Error),
    onReadable() {},
    onUnclaimed: (_lane, error) => assert.fail(error as Error),
    onClaimable() {},
    enable: () => Promise.reject(new Error('not asked for')),
    pausedProbeMs: 120_000,
    ...overrides,
  })
  return { sender, sentTo }
}

describe('stream sender', () => {
  it('forgets a load of the stream that a reload has overtaken', async () => {
    let loads = 0
    let finishFirst: (target: StreamTarget) => void = () => {}
    const { sender, sentTo } = rig({
      loadTarget: () => {
        loads += 1
        if (loads > 1) return Promise.resolve(targetOf('https://new.example.com', 2))
        return new Promise((resolve) => {
          finishFirst = resolve
        })
      },
    })
    sender.wake()
    const reloaded = sender.reload()
    finishFirst(targetOf('https://old.example.com', 1))
    await reloaded
    await waitUntil('the stream to be read again', () => loads === 2 && sender.idle())
    sender.offer({ version: 2, items: [item('1')] })
    await waitUntil('the SET', () => sentTo.length === 1)
    assert.deepEqual(sentTo, ['https://new.example.com'])
  })

  it('reads the stream again when a claim saw another version of it', async () => {
    let version = 1
    let loads = 0
    const { sender } = rig({
      loadTarget: async () => {
        loads += 1
        return targetOf('https://x.example.com', version)
      },
      claim: async ({ lane }) => {
        const isNew = lane === 'urgent' && version === 2 && loads === 1
        return { due: isNew ? [item('1')] : [], stale: [], ungranted: [], unreadable: [], version }
      },
    })
    sender.wake()
    await waitUntil('the first load', () => loads === 1 && sender.idle())
    version = 2
    sender.wake()
    await waitUntil('the second load', () => loads === 2)
  })

  it('sends by the stream as fan-out saw it, though no word of the change came', async () => {
    let version = 1
    let open = [item('1')]
    const { sender, sentTo } = rig({
      loadTarget: async () => targetOf(`https://v${version}.example.com`, version),
      claim: async ({ lane }) => {
        const due = lane === 'urgent' && version === 2 ? open.splice(0) : []
        return { due, stale: [], ungranted: [], unreadable: [], version }
      },
    })
    sender.wake()
    await waitUntil('the first load', () => sender.idle())
    version = 2
    sender.offer({ version: 2, items: open.slice() })
    await waitUntil('the SET', () => sentTo.length === 1)
    assert.deepEqual(sentTo, ['https://v2.example.com'])
    // Matched before the change, handed over after it: the table says what became of it.
    open = []
    sender.offer({ version: 1, items: [item('0')] })
    await waitUntil('the claim', () => sender.idle())
    assert.equal(sentTo.length, 1)
  })

  it('asks the table of a stopped stream for notices alone, and of others for all', async () => {
    for (const sending of [false, true]) {
      const asked = new Set<boolean>()
      const { sender } = rig({
        loadTarget: async () => ({ ...targetOf('https://x.example.com', 1), sending, noticesOnly: !sending }),
        claim: async ({ noticesOnly }) => {
          asked.add(noticesOnly)
          return { due: [], stale: [], ungranted: [], unreadable: [] }
        },
        nextTryMs: async ({ noticesOnly }) => {
          asked.add(noticesOnly)
          return undefined
        },
      })
      sender.wake()
      await waitUntil('the claims', () => asked.size > 0 && sender.idle())
      assert.deepEqual([...asked], [!sending])
    }
  })

  it('is idle once its stream is gone, so that nobody keeps it in memory', async () => {
    let loads = 0
    const { sender } = rig({
      loadTarget: async () => {
        loads += 1
        return undefined
      },
    })
    assert.equal(sender.idle(), false, 'nobody knows yet')
    sender.wake()
    await waitUntil('the load', () => loads === 1 && sender.idle())
  })

  it('keeps nothing that a claim brings while it stops', async () => {
    let waiting = 0
    let finishClaim = () => {}
    const { sender } = rig({
      room: {
        count(change) {
          waiting += change
        },
        hasRoom: () => true,
      },
      claim: async ({ lane }) => {
        if (lane !== 'urgent') return { due: [], stale: [], ungranted: [], unreadable: [] }
        await new Promise<void>((resolve) => {
          finishClaim = resolve
        })
        return { due: [item('1'), item('2')], stale: [], ungranted: [], unreadable: [] }
      },
    })
    sender.wake()
    await waitUntil('the claim', () => finishClaim.name !== 'finishClaim')
    const stopped = sender.stop()
    finishClaim()
    await stopped
    assert.equal(waiting, 0)
  })

  it('stays stopped when it was being reloaded', async () => {
    let loads = 0
    let answer = () => {}
    const { sender } = rig({
      loadTarget: async () => {
        loads += 1
        return targetOf('https://x.example.com', 2)
      },
      attempt: async () => {
        await new Promise<void>((resolve) => {
          answer = resolve
        })
        return { class: 'received' }
      },
    })
    sender.wake()
    await waitUntil('the load', () => loads === 1 && sender.idle())
    sender.offer({ version: 2, items: [item('1')] })
    const ending = [sender.reload(), sender.stop()]
    answer()
    await Promise.all(ending)
    sender.offer({ version: 2, items: [item('2')] })
    sender.wake()
    assert.equal(loads, 1, 'whoever has the shard now reads the stream, not this')
  })

  it('asks to be woken for another try once that is in the table, where claims see it', async () => {
    const order: string[] = []
    const { sender } = rig({
      attempt: async () => ({ class: 'failed', failure: 'server_error', reason: 'answered 503' }),
      async writeResult() {
        await new Promise((resolve) => setImmediate(resolve))
        order.push('written')
      },
      wakeAt: () => void order.push('asked'),
    })
    sender.wake()
    await waitUntil('the load', () => sender.idle())
    sender.offer({ version: 2, items: [item('1')] })
    await waitUntil('the result', () => order.includes('written') && order.at(-1) === 'asked')
  })

  it('takes new work in memory again once a claim has drained the table, however steadily it comes', async () => {
    let claims = 0
    const rows = Array.from({ length: 40 }, (_, index) => item(String(index).padStart(3, '0')))
    const { sender, sentTo } = rig({
      claim: async () => {
        claims += 1
        const row = rows.shift()
        // Work arrives during each claim, as under steady load.
        if (row) sender.offer({ version: 2, items: [row] })
        await new Promise((resolve) => setImmediate(resolve))
        return { due: [], stale: [], ungranted: [], unreadable: [] }
      },
    })
    sender.wake()
    await waitUntil('the claims to end', () => sender.idle() && sentTo.length > 0)
    const before = claims
    for (const row of rows.splice(0)) sender.offer({ version: 2, items: [row] })
    await waitUntil('the rest', () => sentTo.length >= 36)
    assert.equal(claims, before)
  })

  it('gives a recovered endpoint its backlog by lane, however slowly the table hands out the more urgent one', async () => {
    let now = 1_000_000
    let isUp = false
    const open = [item('u1'), item('u2'), item('u3'), item('u4')]
    for (const id of ['r1', 'r2', 'r3']) open.push({ ...item(id), lane: 'routine' })
    const done = new Set<string>()
    const sent: string[] = []
    const { sender } = rig({
      clock: { now: () => now, monotonicMs: () => now },
      claim: async ({ lane, inHand }) => {
        // A slow pool for what is urgent: routine rows are there long before.
        for (let turn = 0; lane !== 'routine' && turn < 20; turn += 1) {
          await new Promise((resolve) => setImmediate(resolve))
        }
        const due = open.filter(
          (row) => row.lane === lane && !done.has(row.eventId) && !inHand.includes(row.eventId),
        )
        return { due, stale: [], ungranted: [], unreadable: [] }
      },
      attempt: async ({ eventId }) => {
        if (!isUp) return { class: 'failed', failure: 'connect', reason: 'ECONNREFUSED' }
        sent.push(eventId)
        done.add(eventId)
        return { class: 'received' }
      },
      limits: { control: 1, urgent: 1, routine: 3 },
    })
    sender.wake()
    await waitUntil('the load', () => sender.version() === 2)
    await waitUntil('the first failure', () => {
      now += 1_000
      sender.wake()
      return !sender.idle()
    })
    now += 60_000
    isUp = true
    await waitUntil('all of it', () => {
      now += 1_000
      sender.pump()
      return sent.length === 7
    })
    assert.deepEqual(sent.slice(0, 4).toSorted(), ['u1', 'u2', 'u3', 'u4'])
  })

  it('parks nothing for an outage: after it one success and one cold backend are no reason', async () => {
    const results = new Map<string, DeliveryResult>()
    // Asked again and again while everything failed.
    const backlog = ['a', 'b'].map((id) => ({
      ...item(id),
      attempts: 901,
      queuedAtMs: Date.now() - 3_600_000,
    }))
    const { sender } = rig({
      claim: async ({ lane }) => {
        const due = lane === 'urgent' ? backlog.splice(0) : []
        return { due, stale: [], ungranted: [], unreadable: [] }
      },
      attempt: async ({ eventId }) => {
        if (eventId === 'a') return { class: 'received' }
        await waitUntil('the success', () => results.has('a'))
        return { class: 'failed', failure: 'server_error', reason: 'answered 503' }
      },
      async writeResult(_lane, result) {
        results.set(result.eventId, result)
      },
    })
    sender.wake()
    await waitUntil('both', () => results.size === 2)
    assert.deepEqual([results.get('a')?.outcome, results.get('b')?.outcome], ['received', 'retry'])
  })

  it('never parks the notice of a stream that was paused for failing, whatever got through before', async () => {
    let now = 1_000_000
    const outcomes: string[] = []
    const to = { ...targetOf('https://x.example.com', 1), sending: false, noticesOnly: true }
    for (const pausedForFailing of [false, true]) {
      let isOther = false
      outcomes.length = 0
      const { sender } = rig({
        clock: { now: () => now, monotonicMs: () => now },
        loadTarget: async () => ({ ...to, pausedForFailing }),
        enable: async () => {},
        claim: async ({ lane, inHand }) => {
          // In turn with another one that is taken, so that only this one fails.
          const id = isOther ? `other ${now}` : 'notice'
          const due = lane === 'urgent' && !inHand.includes(id) ? [item(id)] : []
          return { due, stale: [], ungranted: [], unreadable: [] }
        },
        attempt: async ({ eventId }) => {
          isOther = eventId === 'notice'
          if (eventId !== 'notice') return { class: 'received' }
          return { class: 'failed', failure: 'server_error', reason: 'answered 503' }
        },
        async writeResult(_lane, result) {
          if (result.eventId === 'notice') outcomes.push(result.outcome)
        },
      })
      await waitUntil('ten tries', () => {
        now += 20_000
        sender.wake()
        return outcomes.length >= 10
      })
      await sender.stop()
      assert.equal(outcomes.includes('park'), !pausedForFailing, outcomes.join())
    }
  })

  it('asks to be woken again when it is woken a moment before the table may be asked again', async () => {
    let now = 1_000_000
    let claims = 0
    const asked: number[] = []
    const { sender, sentTo } = rig({
      clock: { now: () => now, monotonicMs: () => now },
      claim: async ({ lane }) => {
        if (lane !== 'urgent') return { due: [], stale: [], ungranted: [], unreadable: [] }
        claims += 1
        if (claims === 1) throw new Error('no connection came free')
        return { due: claims === 2 ? [item('1')] : [], stale: [], ungranted: [], unreadable: [] }
      },
      wakeAt: (atMs) => void asked.push(atMs),
      onUnclaimed() {},
    })
    sender.wake()
    await waitUntil('the claim to fail', () => asked.length > 0)
    const again = asked[0] as number
    // A timer is whole, the clock is not.
    now = again - 0.4
    asked.length = 0
    sender.wake()
    assert.deepEqual([...new Set(asked)], [again])
    assert.equal(claims, 1)
    now = again
    sender.wake()
    await waitUntil('the row to be sent', () => sentTo.length === 1)
  })

  it('tells once of each fault of reading its stream, and when that is over', async () => {
    const told: string[] = []
    const answers = [
      'no key',
      'no key',
      'no database',
      'no database',
      undefined,
      undefined,
      'no key',
      undefined,
    ]
    const { sender } = rig({
      async loadTarget() {
        const fault = answers.shift()
        if (fault) throw new Error(fault)
        return targetOf('https://x.example.com', 1)
      },
      onUnreadable: (error) => void told.push((error as Error).message),
      onReadable: () => void told.push('readable'),
    })
    while (answers.length > 0) {
      const left = answers.length
      if (sender.version() === undefined) sender.wake()
      else void sender.reload()
      await waitUntil('the load', () => answers.length < left)
      await new Promise((resolve) => setImmediate(resolve))
    }
    assert.deepEqual(told, ['no key', 'no database', 'readable', 'no key', 'readable'])
  })

  it('sends what other lanes claim while the claims of one fail, and tells of that once', async () => {
    let now = 1_000_000
    let fault: string | undefined = 'no connection came free'
    let claims = 0
    const told: string[] = []
    const open: SendItem[] = []
    const { sender, sentTo } = rig({
      clock: { now: () => now, monotonicMs: () => now },
      claim: async ({ lane }) => {
        if (lane === 'control') {
          claims += 1
          if (fault) throw new Error(fault)
        }
        const due = lane === 'urgent' ? open.splice(0) : []
        return { due, stale: [], ungranted: [], unreadable: [] }
      },
      onUnclaimed: (lane, error) => void told.push(`${lane}: ${(error as Error).message}`),
      onClaimable: (lane) => void told.push(lane),
    })
    const claimAgain = async () => {
      const before = claims
      now += 500
      sender.wake()
      await waitUntil('the claim', () => claims > before)
      await new Promise((resolve) => setImmediate(resolve))
    }
    await claimAgain()
    open.push(item('1'), item('2'))
    await claimAgain()
    await waitUntil('the urgent ones', () => sentTo.length === 2)
    fault = 'deadlock'
    await claimAgain()
    fault = undefined
    await claimAgain()
    await claimAgain()
    assert.deepEqual(told, ['control: no connection came free', 'control: deadlock', 'control'])
  })

  it('asks for a place only in a lane where something waits', async () => {
    const asked = new Set<string>()
    const { sender, sentTo } = rig({
      mayStart(lane) {
        asked.add(lane)
        return true
      },
    })
    sender.wake()
    await waitUntil('the load', () => sender.idle())
    assert.deepEqual([...asked], [])
    sender.offer({ version: 2, items: [item('1')] })
    await waitUntil('the SET', () => sentTo.length === 1 && sender.idle())
    assert.deepEqual([...asked], ['urgent'])
  })

  it('looks aside for other causes however much waits in memory, as long as there is room for them', async () => {
    let now = 1_000_000
    let room = 5_000
    const limits: number[] = []
    const { sender } = rig({
      clock: { now: () => now, monotonicMs: () => now },
      room: {
        count(change) {
          room -= change
        },
        hasRoom: (arriving) => arriving < room,
      },
      claim: async ({ lane, limit }) => {
        if (lane === 'urgent') limits.push(limit)
        return { due: [], stale: [], ungranted: [], unreadable: [] }
      },
      attempt: () => new Promise(() => {}),
    })
    sender.wake()
    await waitUntil('the load', () => sender.idle())
    limits.length = 0
    sender.offer({ version: 2, items: Array.from({ length: 4_000 }, (_, index) => item(`${index}`)) })
    room = 200
    now += 1_000
    sender.wake()
    assert.deepEqual(limits, [], 'no room')
    room = 1_000
    sender.pump()
    await waitUntil('the look', () => limits.length > 0)
    assert.deepEqual(limits, [0])
  })

  it('claims little for an endpoint that is down, and whole pages once it answers', async () => {
    let now = 1_000_000
    let isUp = false
    let tries = 0
    const done = new Set<string>()
    const limits = new Set<number>()
    const open = Array.from({ length: 100 }, (_, index) => item(`${index}`))
    const { sender } = rig({
      clock: { now: () => now, monotonicMs: () => now },
      claim: async ({ lane, inHand, limit }) => {
        limits.add(limit)
        const isDue = ({ eventId }: SendItem) => !done.has(eventId) && !inHand.includes(eventId)
        const due = lane === 'urgent' ? open.filter(isDue).slice(0, limit) : []
        return { due, stale: [], ungranted: [], unreadable: [] }
      },
      attempt: async ({ eventId }) => {
        tries += 1
        if (!isUp) return { class: 'failed', failure: 'connect', reason: 'ECONNREFUSED' }
        done.add(eventId)
        return { class: 'received' }
      },
    })
    sender.wake()
    await waitUntil('the failure', () => sender.isOnRecord())
    limits.clear()
    tries = 0
    await waitUntil('five probes', () => {
      now += 60_000
      sender.wake()
      return tries >= 10
    })
    assert.deepEqual([...limits], [16])
    isUp = true
    limits.clear()
    now += 60_000
    sender.wake()
    await waitUntil('all of it', () => {
      now += 60_000
      sender.wake()
      return done.size === open.length
    })
    assert.ok(limits.has(500))
  })

  it('sends the notice no sooner again than to an endpoint that fails when its stream could not be enabled', async () => {
    let now = 1_000_000
    let enabled = 0
    const to = { ...targetOf('https://x.example.com', 1), sending: false, noticesOnly: true }
    const { sender, sentTo } = rig({
      clock: { now: () => now, monotonicMs: () => now },
      loadTarget: async () => ({ ...to, pausedForFailing: true }),
      enable: async () => {
        enabled += 1
        throw new Error('canceling statement due to statement timeout')
      },
      claim: async ({ lane, inHand }) => {
        const isDue = lane === 'urgent' && !inHand.includes('notice')
        return { due: isDue ? [item('notice')] : [], stale: [], ungranted: [], unreadable: [] }
      },
      writeResult: async () => assert.fail('not before the stream is enabled'),
    })
    const tryFor = async (ms: number) => {
      for (const until = now + ms; now < until; now += 1_000) {
        sender.wake()
        await new Promise((resolve) => setImmediate(resolve))
      }
    }
    sender.wake()
    await waitUntil('the notice', () => enabled === 1)
    await tryFor(90_000)
    assert.equal(sentTo.length, 1)
    await tryFor(60_000)
    assert.deepEqual([sentTo.length, enabled], [2, 2])
  })

  it('knows nothing of a new endpoint by what the former one took', async () => {
    for (const latter of ['https://former.example.com', 'https://latter.example.com']) {
      let to = targetOf('https://former.example.com', 1)
      const agreed: boolean[] = []
      const { sender, sentTo } = rig({
        loadTarget: async () => to,
        claim: async ({ lane, inHand }) => {
          const isDue = ({ eventId }: SendItem) => to.version === 2 && !inHand.includes(eventId)
          const due = lane === 'urgent' ? [item('a'), item('b')].filter(isDue) : []
          return { due, stale: [], ungranted: [], unreadable: [] }
        },
        attempt: async ({ eventId }) => {
          sentTo.push(eventId)
          return eventId === 'taken'
            ? { class: 'received' }
            : { class: 'failed', failure: 'gone', reason: 'answered 410' }
        },
        onFailing: ({ isAgreed }) => void agreed.push(isAgreed),
      })
      sender.wake()
      await waitUntil('the load', () => sender.idle())
      sender.offer({ version: 1, items: [item('taken')] })
      await waitUntil('the SET', () => sentTo.length === 1 && sender.idle())
      to = targetOf(latter, 2)
      await sender.reload()
      await waitUntil('failures of both', () => {
        sender.pump()
        return agreed.length >= 3
      })
      await sender.stop()
      assert.equal(agreed.at(-1), latter !== 'https://former.example.com', latter)
    }
  })

  it('asks the table when rows fall due, and for no other time that comes before', async () => {
    let now = 1_000_000
    let leaseMs = Number.POSITIVE_INFINITY
    let claims = 0
    let asked: number[] = []
    let open: SendItem[] = []
    const { sender, sentTo } = rig({
      clock: { now: () => now, monotonicMs: () => now },
      lease: () => ({ unit: 0, epoch: 1, endsAtMonotonicMs: leaseMs }),
      claim: async ({ lane }) => {
        claims += 1
        return { due: lane === 'urgent' ? open.splice(0) : [], stale: [], ungranted: [], unreadable: [] }
      },
      nextTryMs: async ({ lane }) => (lane === 'urgent' && now < 1_010_000 ? 1_010_000 : undefined),
      wakeAt: (atMs) => void asked.push(atMs),
    })
    sender.wake()
    await waitUntil('the claims', () => claims === 3 && sender.idle())
    assert.deepEqual(asked, [1_010_000])
    asked = []
    leaseMs = now + 100
    sender.offer({ version: 2, items: [item('1')] })
    assert.deepEqual([...new Set(asked)], [1_000_250], 'once the lease is renewed')
    now += 250
    leaseMs = Number.POSITIVE_INFINITY
    asked = []
    sender.due()
    await waitUntil('the SET', () => sentTo.length === 1 && sender.idle())
    assert.equal(claims, 3)
    assert.deepEqual(asked, [1_010_000], 'which was dropped for the earlier one')
    now = 1_010_000
    open = [item('2')]
    sender.due()
    await waitUntil('the row', () => sentTo.length === 2 && sender.idle())
    const before = claims
    asked = []
    now += 60_000
    sender.due()
    assert.deepEqual([claims, asked], [before, []])
  })
})
