// The public packages that the interoperability tests run: fetched by their own package managers, each pinned with
// checksums (Cargo.lock, package-lock.json, SHA256SUMS), kept below .cache/interop. `npm run setup:test` calls this.
import { createHash } from 'node:crypto'
import { copyFileSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const HERE = dirname(fileURLToPath(import.meta.url))
const CACHE = join(HERE, '..', '..', '.cache', 'interop')
const RUST = { major: 1, minor: 94 }
const COPY_GOAL = 'org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies'
/** What Keycloak fixes in its jars ahead of time, so that the test's start does not have to. */
const KEYCLOAK_BUILD = ['build', '--features=ssf', '--db=dev-mem']

const KEYCLOAK = join(CACHE, 'keycloak')
const KEYCLOAK_MARKER = join(KEYCLOAK, '.complete')

function keycloakSum() {
  const [sha256, archive] = readFileSync(join(HERE, 'keycloak', 'SHA256SUMS'), 'utf8')
    .trim()
    .split(/\s+/)
  return { sha256, archive }
}

const keycloakState = () => [keycloakSum().sha256, ...KEYCLOAK_BUILD].join(' ')

export const keycloakIsComplete = () =>
  existsSync(KEYCLOAK_MARKER) && readFileSync(KEYCLOAK_MARKER, 'utf8') === keycloakState()

/**
 * Items for the list of test/setup.mjs.
 * @param {{run: Function, output: Function, SetupError: new (message: string) => Error}} tools
 */
export function interopItems({ run, output, SetupError }) {
  function ensureRust() {
    const [, major, minor] = /(\d+)\.(\d+)/.exec(output('cargo', ['--version'])) ?? []
    if (Number(major) > RUST.major || Number(minor) >= RUST.minor) return `present (${major}.${minor})`
    throw new SetupError(`install Rust ${RUST.major}.${RUST.minor} or later with cargo, then run this again`)
  }

  /** cargo builds only what changed, so it is asked each time. */
  function ensureCrates() {
    const target = join(CACHE, 'rust')
    const isNew = !existsSync(target)
    const manifest = join(HERE, 'Cargo.toml')
    run('cargo', ['build', '--quiet', '--locked', '--manifest-path', manifest, '--target-dir', target])
    return isNew ? 'built' : 'present'
  }

  function ensureKeycloak() {
    if (keycloakIsComplete()) return 'present'
    const pom = join(HERE, 'keycloak', 'pom.xml')
    const { sha256, archive } = keycloakSum()
    const fresh = `${KEYCLOAK}.new`
    rmSync(fresh, { recursive: true, force: true })
    run('mvn', ['-B', '-q', '-f', pom, COPY_GOAL, `-DoutputDirectory=${fresh}`])
    const found = createHash('sha256')
      .update(readFileSync(join(fresh, archive)))
      .digest('hex')
    if (found !== sha256) throw new SetupError(`${archive} has the checksum ${found}, not ${sha256}`)
    run('tar', ['-xzf', join(fresh, archive), '-C', fresh, '--strip-components=1'])
    rmSync(join(fresh, archive))
    rmSync(KEYCLOAK, { recursive: true, force: true })
    renameSync(fresh, KEYCLOAK)
    run(join(KEYCLOAK, 'bin', 'kc.sh'), KEYCLOAK_BUILD)
    writeFileSync(KEYCLOAK_MARKER, keycloakState())
    return 'fetched and built'
  }

  function ensureOktaSdk() {
    const folder = join(CACHE, 'okta')
    const lock = join(HERE, 'okta', 'package-lock.json')
    const marker = join(folder, '.complete')
    const wanted = createHash('sha256').update(readFileSync(lock)).digest('hex')
    if (existsSync(marker) && readFileSync(marker, 'utf8') === wanted) return 'present'
    rmSync(folder, { recursive: true, force: true })
    mkdirSync(folder, { recursive: true })
    for (const name of ['package.json', 'package-lock.json']) {
      copyFileSync(join(HERE, 'okta', name), join(folder, name))
    }
    run('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], { cwd: folder })
    writeFileSync(marker, wanted)
    return 'fetched'
  }

  return [
    ['Rust', ensureRust],
    ['Interop: Rust receivers and transmitter', ensureCrates],
    ['Interop: Keycloak', ensureKeycloak],
    ['Interop: Okta SDK', ensureOktaSdk],
  ]
}
