import type { Command } from 'commander'
import { apiPath } from './api-client.js'
import { WrongUse } from './cli-errors.js'
import { type Cli, examples, withApi } from './command.js'
import { renderFields } from './table.js'
import { collect, parseFuture } from './time-option.js'

interface TokenOptions {
  scope?: string[]
  expires?: string
  revoke?: string
}

interface IssuedToken {
  id: string
  token: string
  expires_at?: string | null
}

const SCOPES = ['ssf.read', 'ssf.manage']

/** An access token for a receiver that cannot do client credentials. */
export function addReceiverToken(cli: Cli, group: Command): void {
  const command = group
    .command('token')
    .description('issue a long-lived access token, printed once; or revoke one')
    .argument('<id>', 'the receiver')
    .option('--scope <scope>', 'ssf.read or ssf.manage; repeat for both (default: both)', collect)
    .option('--expires <time>', 'when it ends: 90d, or a time (default: never)', parseFuture)
    .option('--revoke <token-id>', 'end this token instead')
  examples(command, [
    'receiver token 5f0c… --scope ssf.read --expires 90d',
    'receiver token 5f0c… --revoke 81aa…',
  ])
  withApi<TokenOptions>(cli, command, async ({ api, print }, { scope, expires, revoke }, [id = '']) => {
    if (revoke) {
      if (scope || expires) throw new WrongUse('--revoke goes with neither --scope nor --expires')
      await api.delete(apiPath('receivers', id, 'tokens', revoke))
      print({}, () => `revoked token ${revoke}\n`)
      return
    }
    const unknown = (scope ?? []).filter((name) => !SCOPES.includes(name))
    if (unknown.length > 0)
      throw new WrongUse(`--scope must be ${SCOPES.join(' or ')}, not ${unknown.join(', ')}`)
    const issued = await api.post<IssuedToken>(apiPath('receivers', id, 'tokens'), {
      scopes: scope ?? SCOPES,
      ...(expires && { expires_at: expires }),
    })
    print(
      issued,
      () =>
        `${renderFields({ id: issued.id, token: issued.token, expires_at: issued.expires_at ?? 'never' })}Keep the token now: it is not shown again.\n`,
    )
  })
}
