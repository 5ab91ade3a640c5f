import assert from 'node:assert/strict'
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ownPorts } from '../../src/hub-storage.js'
import { announceHub, keepAdminToken } from '../../src/hub-traces.js'

describe('what a hub leaves in its data folder', () => {
  let folder: string
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'firebreak-traces-'))
  })
  afterEach(() => rmSync(folder, { recursive: true }))

  it('is a file of mode 0600, whatever stood there', () => {
    const file = join(folder, 'admin-token')
    writeFileSync(file, 'old')
    chmodSync(file, 0o666)
    assert.equal(keepAdminToken(folder, 'secret'), file)
    assert.equal(lstatSync(file).mode & 0o777, 0o600)
    assert.equal(readFileSync(file, 'utf8'), 'secret\n')
  })

  it('replaces a link instead of writing where it leads', () => {
    const victim = join(folder, 'victim')
    writeFileSync(victim, 'untouched')
    for (const name of ['admin-token', 'hub.json']) symlinkSync(victim, join(folder, name))
    keepAdminToken(folder, 'secret')
    const forget = announceHub(folder, { url: 'http://127.0.0.1:1', managementUrl: 'http://127.0.0.1:2' })
    assert.equal(readFileSync(victim, 'utf8'), 'untouched')
    assert.ok(['admin-token', 'hub.json'].every((name) => lstatSync(join(folder, name)).isFile()))
    forget()
    assert.deepEqual(readdirSync(folder).sort(), ['admin-token', 'victim'])
  })

  it('is nothing, no draft either, where it cannot stand', () => {
    symlinkSync('/dev/null', join(folder, 'no-folder'))
    assert.equal(keepAdminToken(join(folder, 'no-folder'), 'secret'), undefined)
    mkdirSync(join(folder, 'admin-token'))
    assert.equal(keepAdminToken(folder, 'secret'), undefined)
    assert.deepEqual(readdirSync(folder).sort(), ['admin-token', 'no-folder'])
  })
})

describe('the ports that no registered URL may lead to', () => {
  it('are those of both database addresses, of the management and of the brokers', () => {
    const urls = ['postgres://u@pooler:6432/f', 'postgres://u@db/f']
    assert.deepEqual(ownPorts({ kafkaBrokers: ['k:9092'] }, 9090, urls), [6432, 5432, 9090, 9092])
  })
})
