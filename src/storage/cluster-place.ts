import { createHash, randomBytes } from 'node:crypto'
import { existsSync, realpathSync } from 'node:fs'
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { StartupError } from '../kernel/errors.js'
import { asUser, canEnter, type OsUser, pickPostgresUser } from './os-user.js'
import type { PostgresBinaries } from './postgres-binaries.js'
import { type ClusterFolder, clusterFolder, initCluster } from './postgres-server.js'

const HALF_MADE_MS = 600_000

export interface ClusterPlace {
  readonly folder: ClusterFolder
  readonly user: OsUser | undefined
  readonly exists: boolean
  /** The data cannot be in DATA_DIR, because the user cannot reach it. */
  readonly moved: boolean
}

/**
 * Where the cluster of a DATA_DIR is, or goes: inside it, or under /var/lib/firebreak when PostgreSQL's user cannot reach
 * it. Data that exist decide first, so a changed mode never makes the hub start on an empty database.
 * @throws StartupError when existing data cannot be reached
 */
export async function placeCluster(dataDir: string, varLib = '/var/lib/firebreak'): Promise<ClusterPlace> {
  const asked = path.resolve(dataDir)
  const picked = pickPostgresUser()
  await mkdir(asked, { recursive: true, mode: picked ? 0o711 : 0o700 })
  const inside = path.join(asked, 'postgres')
  const key = createHash('sha256').update(realpathSync(asked)).digest('hex').slice(0, 16)
  const outside = path.join(varLib, key, 'postgres')
  if (existsSync(inside)) return await existing(inside, picked, false)
  if (picked && existsSync(outside)) return await existing(outside, picked, true)
  const moved = !canEnter(asked, picked)
  const root = moved ? outside : inside
  if (moved) {
    await mkdir(path.dirname(root), { recursive: true, mode: 0o711 })
    await writeFile(path.join(asked, 'postgres.location'), `${root}\n`)
  }
  return { folder: clusterFolder(root), user: picked, exists: false, moved }
}

async function existing(root: string, picked: OsUser | undefined, moved: boolean): Promise<ClusterPlace> {
  const { uid, gid } = await stat(root)
  // Whoever made the data owns them, even when a `postgres` account has appeared since.
  const user = picked && { name: uid === picked.uid ? picked.name : String(uid), uid, gid }
  if (!picked && uid !== process.getuid?.()) {
    throw new StartupError(
      `the data in ${root} belong to the user with id ${uid}: start firebreak as that user or as root, or set another DATA_DIR`,
    )
  }
  if (!canEnter(root, user)) {
    throw new StartupError(
      `PostgreSQL runs as user ${asUser(user).uid} and cannot reach its data in ${root}: let others pass each folder above it (chmod o+x)`,
    )
  }
  return { folder: clusterFolder(root), user, exists: true, moved }
}

/** Makes the cluster when there is none. It appears under its name only when whole, so a kill half-way leaves nothing. */
export async function ensureCluster(place: ClusterPlace, binaries: PostgresBinaries): Promise<void> {
  if (!place.exists) {
    await removeHalfMade(place.folder.root)
    const parts = clusterFolder(`${place.folder.root}.new-${randomBytes(4).toString('hex')}`)
    const password = randomBytes(24).toString('base64url')
    await initCluster({ binaries, folder: parts, password, user: place.user })
    try {
      await rename(parts.root, place.folder.root)
    } catch (error) {
      await rm(parts.root, { recursive: true, force: true })
      // Another hub, started at the same moment, was faster: its cluster is used by both, and one of them is refused later.
      if ((error as NodeJS.ErrnoException).code !== 'ENOTEMPTY') throw error
    }
  }
  await refuseOtherMajor(place.folder, binaries.major)
}

/** What a start that was killed left; never a younger one, which another hub may be making now. */
async function removeHalfMade(root: string): Promise<void> {
  const parent = path.dirname(root)
  for (const name of await readdir(parent)) {
    const folder = path.join(parent, name)
    if (!name.startsWith(`${path.basename(root)}.new-`)) continue
    const { mtimeMs } = await stat(folder)
    if (Date.now() - mtimeMs > HALF_MADE_MS) await rm(folder, { recursive: true, force: true })
  }
}

async function refuseOtherMajor(folder: ClusterFolder, major: number): Promise<void> {
  const version = await readFile(path.join(folder.dataDir, 'PG_VERSION'), 'utf8').catch(() => undefined)
  if (version === undefined) {
    throw new StartupError(
      `${folder.root} is not a data folder of firebreak: move it away, or set another DATA_DIR`,
    )
  }
  if (version.trim() === String(major)) return
  throw new StartupError(
    `the data in ${folder.root} are of PostgreSQL ${version.trim()}, this firebreak brings PostgreSQL ${major}: ` +
      'run firebreak backup with the release that wrote them, move the folder away, and firebreak restore with this one; or set DATABASE_URL',
  )
}
