// A browser signs in on a page of ours, then looks at a site elsewhere: HOST EMAIL PASSWORD.
import { visit } from './site.mjs'

const [host, email, password] = process.argv.slice(2)
const elsewhere = host.replace('127.0.0.1', 'localhost')

const sign = ([service, method, message]) => fetch(`/${service}/${method}`, {
  method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(message),
}).then((answer) => answer.json())
const ask = async ([url, headers, how]) => {
  try {
    const answer = await fetch(`${url}/graphql`, { method: 'POST', headers, body: '{"query": "{ me { email } }"}', ...how })
    return { status: answer.status, told: answer.type === 'opaque' ? 'opaque' : await answer.json() }
  } catch (error) { return { status: 'unread' } }
}

const told = await visit('page-of-nobody.js', async (foreign) => {
  const service = 'public.auth.v1.AuthService'
  const json = { 'content-type': 'application/json' }
  const ours = await foreign.context().newPage()
  const seen = []
  foreign.on('response', async (answer) => {
    if (answer.url().endsWith('/graphql')) seen.push({ status: answer.status(), cookie: 'cookie' in await answer.request().allHeaders() })
  })
  await ours.goto(`${host}/`)
  const session = await ours.evaluate(sign, [service, 'SignInWithEmail', { email, password }])
  const cookies = (await foreign.context().cookies(`${host}/graphql`)).map(({ name, path, httpOnly, sameSite }) => ({ name, path, httpOnly, sameSite }))
  const script = await ours.evaluate(() => document.cookie)
  const own = await ours.evaluate(ask, ['', { ...json, 'x-graphql-csrf': '1' }])
  const bare = await ours.evaluate(ask, ['', json])
  const foreigners = {}
  for (const [name, url] of [['another port', host], ['another site', elsewhere]]) {
    foreigners[name] = await foreign.evaluate(ask, [url, { ...json, 'x-graphql-csrf': '1' }, { credentials: 'include' }])
    foreigners[`${name}, without a preflight`] = await foreign.evaluate(ask, [url, { 'content-type': 'text/plain' }, { credentials: 'include', mode: 'no-cors' }])
  }
  await ours.evaluate(sign, [service, 'SignOut', { refreshToken: session.refreshToken }])
  const after = await ours.evaluate(ask, ['', { ...json, 'x-graphql-csrf': '1' }])
  const left = (await foreign.context().cookies(`${host}/graphql`)).length
  return { cookies, script, own, bare, foreigners, seen, after, left }
})
console.log(JSON.stringify(told))
process.exit(0)
