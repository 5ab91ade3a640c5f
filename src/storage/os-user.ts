import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { StartupError } from '../kernel/errors.js'

/** An account of the operating system that a child process is started as. */
export interface OsUser {
  readonly name: string
  readonly uid: number
  readonly gid: number
}

/** The programs are started by their full path and find their libraries beside them. */
const BARE_ENVIRONMENT = {
  PATH: '/usr/local/bin:/usr/bin:/bin',
  LANG: 'C',
  LC_ALL: 'C',
  TZ: 'UTC',
} as const

/**
 * Whom PostgreSQL runs as. It refuses to run as root, and initdb wants a user with a name, so root picks
 * `postgres` when there is one and `nobody` else; no account is created. `undefined`: we are not root, run as we are.
 * @throws StartupError when root finds neither account
 */
export function pickPostgresUser(passwd = '/etc/passwd'): OsUser | undefined {
  if (process.getuid?.() !== 0) return undefined
  const accounts = readFileSync(passwd, 'utf8').split('\n').map(parseAccount)
  const found = ['postgres', 'nobody']
    .map((name) => accounts.find((account) => account?.name === name))
    .find((account) => account !== undefined)
  if (!found) {
    throw new StartupError(
      'PostgreSQL does not run as root, and there is no user `postgres` or `nobody`: start firebreak as another user, or set DATABASE_URL',
    )
  }
  return found
}

function parseAccount(line: string): OsUser | undefined {
  const [name, , uid, gid] = line.split(':')
  return name && uid && gid ? { name, uid: Number(uid), gid: Number(gid) } : undefined
}

/**
 * Spawn options for that user. The working directory is one that every user can enter. The environment is not the
 * hub's: every process of that account can read it in /proc, and the hub's may hold its master key and tokens.
 */
export function asUser(user: OsUser | undefined): {
  cwd: string
  env: Readonly<Record<string, string>>
  uid?: number
  gid?: number
} {
  const options = { cwd: '/', env: BARE_ENVIRONMENT }
  return user ? { ...options, uid: user.uid, gid: user.gid } : options
}

/** True when the user can pass every folder down to this one; asked of the kernel, not computed from modes. */
export function canEnter(folder: string, user: OsUser | undefined): boolean {
  const asked = spawnSync('/bin/sh', ['-c', 'cd "$1"', 'sh', folder], { ...asUser(user), stdio: 'ignore' })
  return asked.status === 0
}
