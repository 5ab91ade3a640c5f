import type { Command } from 'commander'
import { withProgress } from './cli-io.js'
import { type Cli, examples } from './command.js'

/** serve, migrate, config, openapi: what runs without a hub to talk to. */
export function addHubCommands({ hooks, io }: Cli, program: Command): void {
  examples(
    program.command('serve').description('migrate the database and run the hub until SIGTERM or Ctrl-C'),
    ['serve', 'config        # the settings it would run with'],
  ).action(() => hooks.serve())

  program
    .command('migrate')
    .description('bring the database to the schema of this version')
    .option('--json', 'print the result as JSON')
    .action(async (options: { json?: boolean }) => {
      const result = await withProgress(io, 'migrating', hooks.migrate())
      if (options.json) io.out(`${JSON.stringify(result, null, 2)}\n`)
      else if (result.applied.length === 0) io.out('nothing to do: the schema is up to date\n')
      else for (const name of result.applied) io.out(`applied ${name}\n`)
    })

  program
    .command('config')
    .description('print the effective settings, secrets masked')
    .action(async () => io.out(ensureNewline(await hooks.printConfig())))

  program
    .command('openapi')
    .description('print the OpenAPI document of all that the hub serves')
    .action(() => io.out(`${JSON.stringify(hooks.openApi(), null, 2)}\n`))
}

function ensureNewline(text: string): string {
  return text.endsWith('\n') ? text : `${text}\n`
}
