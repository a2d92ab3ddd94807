// A browser on a page of another origin with the original's libraries: HOST PUBLIC DESCRIPTORS.
import { readFileSync } from 'node:fs'
import { visit } from './site.mjs'

const [host, key, descriptors] = process.argv.slice(2)
const told = await visit('connect-page.js', (page) => page.evaluate(async ([host, key, descriptors]) => {
  const client = window.start(host, key, descriptors)
  const sent = await client.send([client.event('page_view', 'anon-connect-web'), client.cookieless('connect_cookieless')])
  await client.identify('user-connect-web', 'anon-connect-web')
  const broken = await client.send([client.event('not a kind', 'anon-connect-web')])
  const stranger = await client.send([client.event('page_view', 'anon-connect-web')], 'pub_' + '0'.repeat(20))
  const hidden = client.beacon([client.event('while_hidden', 'user-connect-web')])
  return { sent, broken, stranger, hidden }
}, [host, key, readFileSync(descriptors).toString('base64')]))
console.log(JSON.stringify(told))
process.exit(0)
