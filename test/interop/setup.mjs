// The public packages that the interoperability tests run: fetched by their own package managers, each pinned with
// checksums (Cargo.lock, go.sum, SHA256SUMS), kept below .cache/interop. `npm run setup:test` calls this.
import { createHash } from 'node:crypto'
import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const HERE = dirname(fileURLToPath(import.meta.url))
const CACHE = join(HERE, '..', '..', '.cache', 'interop')
const RUST = [1, 94]
const GO = [1, 24]
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

/** A missing version is never enough. */
const isAtLeast = ([major, minor], foundMajor, foundMinor) =>
  Number(foundMajor) > major || (Number(foundMajor) === major && Number(foundMinor) >= minor)

/**
 * Items for the list of test/setup.mjs.
 * @param {{run: Function, output: Function, SetupError: new (message: string) => Error}} tools
 */
export function interopItems({ run, output, SetupError }) {
  function ensureRust() {
    const [, major, minor] = /(\d+)\.(\d+)/.exec(output('cargo', ['--version'])) ?? []
    if (isAtLeast(RUST, major, minor)) return `present (${major}.${minor})`
    throw new SetupError(`install Rust ${RUST.join('.')} or later with cargo, then run this again`)
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

  function ensureGo() {
    const [, major, minor] = /go(\d+)\.(\d+)/.exec(output('go', ['version'])) ?? []
    if (isAtLeast(GO, major, minor)) return `present (${major}.${minor})`
    throw new SetupError(`install Go ${GO.join('.')} or later, then run this again`)
  }

  /** As cargo, go builds only what changed. */
  function ensureGoPackage() {
    const program = join(CACHE, 'okta-transmitter')
    const isNew = !existsSync(program)
    // GOTOOLCHAIN: the go that is here, never one that it fetches.
    const options = { cwd: join(HERE, 'okta'), env: { ...process.env, GOTOOLCHAIN: 'local' } }
    run('go', ['build', '-mod=readonly', '-o', program, '.'], options)
    return isNew ? 'built' : 'present'
  }

  return [
    ['Rust', ensureRust],
    ['Interop: Rust receivers and transmitter', ensureCrates],
    ['Interop: Keycloak', ensureKeycloak],
    ['Go', ensureGo],
    ['Interop: Okta SDK', ensureGoPackage],
  ]
}
