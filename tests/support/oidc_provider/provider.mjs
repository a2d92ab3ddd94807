// A real OpenID provider for tests: oidc-provider with accounts that a test makes up.
//
// Reads one line of JSON from stdin: {clients, claimsInIdToken, tls?: {certificate, key}}; prints one
// line READY={"issuer": ...}. Afterwards each line of stdin is a command, answered by a line of stdout:
//   {"account": id, "claims": {...}}   whom `login_hint` signs in, without asking
//   {"rotate": true}                   fresh keys; the old ones are gone
// It ends with its stdin.
import { generateKeyPairSync, randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createServer as createPlain } from 'node:http'
import { createServer as createTls } from 'node:https'
import { createInterface } from 'node:readline'
import { Provider } from 'oidc-provider'

// What the library has to say is not for those who read our answers.
console.log = console.info = console.warn = (...words) => console.error(...words)

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]()
const given = JSON.parse((await lines.next()).value)
const accounts = new Map()
const counts = new Map()

function keys() {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const { privateKey: curve } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  return {
    keys: [
      { ...privateKey.export({ format: 'jwk' }), kid: randomUUID(), use: 'sig' },
      { ...curve.export({ format: 'jwk' }), kid: randomUUID(), use: 'sig' },
    ],
  }
}

function build() {
  const provider = new Provider(issuer, {
    clients: given.clients,
    jwks: keys(),
    conformIdTokenClaims: !given.claimsInIdToken,
    cookies: { keys: ['only for tests'] },
    claims: {
      openid: ['sub'],
      email: ['email', 'email_verified'],
      profile: ['name', 'picture'],
      groups: ['groups'],
    },
    features: { devInteractions: { enabled: false } },
    pkce: { required: () => true },
    interactions: { url: (_ctx, interaction) => `/interaction/${interaction.uid}` },
    findAccount: (_ctx, id) =>
      accounts.has(id) && { accountId: id, claims: () => ({ sub: id, ...accounts.get(id) }) },
  })
  provider.on('server_error', (_ctx, error) => console.error(error))
  return provider
}

// Signs in whom `login_hint` names and agrees to everything; an unknown account refuses.
async function interact(request, response) {
  const { params, prompt, grantId } = await provider.interactionDetails(request, response)
  if (!accounts.has(params.login_hint)) {
    const refusal = { error: 'access_denied', error_description: 'the person said no' }
    return provider.interactionFinished(request, response, refusal)
  }
  const result = { login: { accountId: params.login_hint } }
  if (prompt.name === 'consent') {
    const grant = grantId
      ? await provider.Grant.find(grantId)
      : new provider.Grant({ accountId: params.login_hint, clientId: params.client_id })
    grant.addOIDCScope(params.scope)
    result.consent = { grantId: await grant.save() }
  }
  return provider.interactionFinished(request, response, result, { mergeWithLastSubmission: true })
}

function handle(request, response) {
  const path = request.url.split('?')[0]
  counts.set(path, (counts.get(path) ?? 0) + 1)
  if (path.startsWith('/interaction/')) {
    interact(request, response).catch((error) => {
      console.error(error)
      response.writeHead(500).end()
    })
  } else {
    provider.callback()(request, response)
  }
}

const server = given.tls
  ? createTls({ cert: readFileSync(given.tls.certificate), key: readFileSync(given.tls.key) }, handle)
  : createPlain(handle)
await new Promise((listening) => server.listen(0, '127.0.0.1', listening))
const issuer = `${given.tls ? 'https' : 'http'}://localhost:${server.address().port}`
let provider = build()
process.stdout.write(`READY=${JSON.stringify({ issuer })}\n`)

for await (const line of lines) {
  const command = JSON.parse(line)
  if (command.account) accounts.set(command.account, command.claims)
  if (command.rotate) provider = build()
  process.stdout.write(`${JSON.stringify({ counts: Object.fromEntries(counts) })}\n`)
}
server.closeAllConnections()
server.close()
process.exit(0)
