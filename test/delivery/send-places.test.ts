import assert from 'node:assert/strict'
import { createSendPlaces, type SendPlacesOptions } from '../../src/delivery/send-places.js'
import type { Lane } from '../../src/secevent/event.js'
import { waitUntil } from '../support/wait.js'

const BUDGETS = { control: 8, urgent: 32, routine: 8 }

describe('places of what is in flight', () => {
  /** Streams that send as much as they may, to endpoints that answer when told. */
  function rig(more: Partial<SendPlacesOptions> = {}) {
    const streams = new Map<string, { endpoint: string; left: number }>()
    const answers: { streamId: string; endpoint: string; answer(): void }[] = []
    const started: string[] = []
    const places = createSendPlaces({
      budgets: BUDGETS,
      perEndpoint: 4,
      slowAfterMs: 3_600_000,
      wake: pump,
      ...more,
    })
    function pump(streamId: string): void {
      const stream = streams.get(streamId)
      while (stream && stream.left > 0 && places.mayStart('urgent', streamId, stream.endpoint)) {
        stream.left -= 1
        started.push(streamId)
        const { endpoint } = stream
        answers.push({ streamId, endpoint, answer: places.take('urgent', endpoint) })
      }
    }
    return {
      places,
      started,
      send(streamId: string, endpoint: string, sets: number) {
        streams.set(streamId, { endpoint, left: sets })
        pump(streamId)
      },
      /** Answers all that is under way at the endpoint, and what that lets begin, until nothing more does. */
      answerAll(endpoint: string) {
        for (let index = answers.findIndex((one) => one.endpoint === endpoint); index >= 0; ) {
          const [one] = answers.splice(index, 1)
          one?.answer()
          index = answers.findIndex((other) => other.endpoint === endpoint)
        }
      },
      held: (endpoint: string) => answers.filter((one) => one.endpoint === endpoint).length,
      inAll: () => answers.length,
    }
  }

  it('are bounded per endpoint, however many streams it has: the others have the rest', () => {
    const { send, held, started, answerAll } = rig()
    for (let index = 0; index < 50; index += 1) send(`stalled ${index}`, 'https://stalled', 10)
    assert.equal(held('https://stalled'), 4)
    send('healthy', 'https://healthy', 100)
    answerAll('https://healthy')
    assert.equal(started.filter((streamId) => streamId === 'healthy').length, 100)
    assert.equal(held('https://stalled'), 4)
  })

  it('go round by stream at one endpoint', () => {
    const { send, started, answerAll } = rig({ perEndpoint: 1 })
    send('first', 'https://one', 1)
    for (const name of ['a', 'b', 'c']) send(name, 'https://one', 3)
    answerAll('https://one')
    assert.deepEqual(started, ['first', 'a', 'b', 'c', 'a', 'b', 'c', 'a', 'b', 'c'])
  })

  it('go round by endpoint when the lane is full', () => {
    const { send, started, answerAll } = rig({ budgets: { ...BUDGETS, urgent: 2 } })
    for (let index = 0; index < 4; index += 1) send(`busy ${index}`, 'https://busy', 5)
    send('other', 'https://other', 2)
    answerAll('https://busy')
    answerAll('https://other')
    const first = started.indexOf('other')
    assert.ok(first >= 0 && first <= 4, `the other endpoint had its turn as ${first}`)
  })

  it('are apart for each lane', () => {
    const { places, send } = rig()
    for (let index = 0; index < 20; index += 1) send(`s${index}`, `https://e${index}`, 10)
    assert.equal(places.mayStart('urgent', 'one more', 'https://new'), false)
    assert.equal(places.mayStart('control', 's0', 'https://e0'), true)
    assert.equal(places.mayStart('routine', 's0', 'https://e0'), true)
  })

  it('are left for the others although hundreds of endpoints stall at once', async () => {
    const { places, send, held, started, answerAll, inAll } = rig({ slowAfterMs: 20 })
    for (let index = 0; index < 300; index += 1) send(`s${index}`, `https://stalled${index}`, 10)
    assert.equal(inAll(), 32, 'the whole budget is held')
    send('healthy', 'https://healthy', 100)
    // What takes long leaves its share to those that wait, turn by turn, until the healthy one has had its.
    const sent = () => started.filter((streamId) => streamId === 'healthy').length
    await waitUntil('all of the healthy one', () => {
      answerAll('https://healthy')
      return sent() === 100
    })
    // And from then on no stalled endpoint takes a place of the prompt ones.
    await waitUntil('all stalled ones to be known', () => inAll() >= 300 && held('https://healthy') === 0)
    const before = inAll()
    const shown = places.inFlight().filter(({ lane }) => lane === 'urgent')
    assert.equal(shown[0]?.standing === 'prompt' && shown[0].count + (shown[1]?.count ?? 0), before)
    assert.ok((shown[1]?.count ?? 0) > 32, 'most are of endpoints known to be slow')
    send('healthy again', 'https://healthy', 50)
    answerAll('https://healthy')
    assert.equal(started.filter((streamId) => streamId === 'healthy again').length, 50)
    assert.equal(inAll(), before, 'none of the places it gave back went to a stalled one')
  })

  it('are half as many again for slow endpoints, which are prompt again when they answer in time', async () => {
    const { send, held, answerAll, started, inAll } = rig({ slowAfterMs: 20, perEndpoint: 8 })
    for (let index = 0; index < 4; index += 1) send(`s${index}`, `https://slow${index}`, 8)
    assert.equal(inAll(), 32)
    send('s4', 'https://slow4', 8)
    send('s5', 'https://slow5', 8)
    await waitUntil('the first to be slow, and two more to begin', () => inAll() === 48)
    // They hold more than the share of slow ones: no more of them begin until they have given up as much.
    send('late', 'https://slow0', 8)
    answerAll('https://slow1')
    assert.equal(started.filter((streamId) => streamId === 'late').length, 0)
    answerAll('https://slow2')
    answerAll('https://slow3')
    answerAll('https://slow4')
    answerAll('https://slow5')
    answerAll('https://slow0')
    await waitUntil('the late one', () => started.filter((streamId) => streamId === 'late').length === 8)
    assert.equal(held('https://slow0'), 0)
  })

  it('forget an endpoint that is prompt and idle', () => {
    const { send, answerAll, places } = rig()
    send('s', 'https://one', 9)
    answerAll('https://one')
    assert.equal(places.mayStart('urgent', 's', 'https://never'), true)
    assert.equal(places.size(), 0)
  })

  it('forget the slow endpoint that has been idle for longest, and no other, when there are too many', async () => {
    const { send, answerAll, places } = rig({ slowAfterMs: 20, maxIdleSlow: 3 })
    const slow = (of: Lane) =>
      places.inFlight().find(({ lane, standing }) => lane === of && standing === 'slow')?.count
    const names = ['a', 'b', 'c', 'd']
    let stalls = 0
    const stall = async (name: string) => {
      send(name, `https://${name}`, 1)
      stalls += 1
      const give = places.take('routine', `https://later${stalls}`)
      await waitUntil('what began later to be slow', () => slow('routine') === 1)
      give()
      answerAll(`https://${name}`)
    }
    for (const name of names.slice(0, 3)) await stall(name)
    // In use again, and idle for the shortest time.
    await stall('a')
    await stall('d')
    assert.equal(places.size(), 6, 'three in each of the two lanes')
    const isSlow = (name: string) => {
      const give = places.take('urgent', `https://${name}`)
      const count = slow('urgent')
      give()
      return count === 1
    }
    assert.deepEqual(names.map(isSlow), [true, false, true, true])
  })
})
