import { cp, mkdtemp, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { ROOT } from '../support/source-files.js'
import { startWatchdog } from '../support/watchdog.js'

/** This program once more, with migrations that it does not have yet. */
export interface LaterRelease {
  readonly entry: string
  /** Its next start applies this. */
  addMigration(name: string, sql: string): Promise<void>
  remove(): Promise<void>
}

/** A copy, because a program finds its migrations beside itself. */
export async function makeLaterRelease(): Promise<LaterRelease> {
  const folder = await mkdtemp(path.join(tmpdir(), 'firebreak-release-'))
  const watchdog = startWatchdog(folder)
  for (const part of ['dist/src', 'migrations', 'schemas', 'package.json']) {
    await cp(path.join(ROOT, part), path.join(folder, part), { recursive: true })
  }
  await symlink(path.join(ROOT, 'node_modules'), path.join(folder, 'node_modules'))
  return {
    entry: path.join(folder, 'dist/src/main.js'),
    addMigration: (name, sql) =>
      writeFile(
        path.join(folder, 'migrations', name),
        `export async function up(knex) { await knex.raw(\`${sql}\`) }\nexport async function down() {}\n`,
      ),
    remove: () => watchdog.dismiss(),
  }
}
