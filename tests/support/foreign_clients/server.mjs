// One server-side client of another product, told on the command line what to be: NAME HOST KEY.
// Each does what its users do: names somebody, counts something of theirs, and waits for delivery.
const [name, host, key] = process.argv.slice(2)
const user = `user-${name}`
const visitor = `visitor-${name}`
const properties = { plan: 'spro', price: 12.5, count: 3, gift: true, list: [1, { a: null }], none: null }

async function segment() {
  const { Analytics } = await import('@segment/analytics-node')
  const client = new Analytics({ writeKey: key, host, flushAt: 20, flushInterval: 200, maxRetries: 5 })
  client.on('error', (error) => console.error(error))
  client.track({ anonymousId: visitor, event: 'Product Viewed', properties })
  client.identify({ userId: user, anonymousId: visitor, traits: { name: 'Mops', email: `${user}@pug.test` } })
  client.track({ userId: user, event: 'Order Completed', properties: { ...properties, total: 99.5, currency: 'EUR' } })
  client.track({ userId: user, event: 'plain_kind', properties })
  client.page({ userId: user, name: 'Home', properties: { url: 'https://shop.example/a?utm_source=news' } })
  client.group({ userId: user, groupId: 'g1', traits: { seats: 3 } })
  await client.closeAndFlush()
}

async function rudder() {
  const Rudder = (await import('@rudderstack/rudder-sdk-node')).default
  const Client = Rudder.default ?? Rudder
  const client = new Client(key, { dataPlaneUrl: host, flushAt: 20, flushInterval: 200, gzip: true })
  client.track({ anonymousId: visitor, event: 'Product Viewed', properties })
  client.identify({ userId: user, anonymousId: visitor, traits: { name: 'Mops', email: `${user}@pug.test` } })
  client.track({ userId: user, event: 'Order Completed', properties: { ...properties, total: 99.5, currency: 'EUR' } })
  client.track({ userId: user, event: 'plain_kind', properties })
  client.page({ userId: user, name: 'Home', properties: { url: 'https://shop.example/a?utm_source=news' } })
  client.group({ userId: user, groupId: 'g1', traits: { seats: 3 } })
  await new Promise((done) => client.flush(done))
}

async function posthog(packaged) {
  const { PostHog } = await import(packaged)
  const client = new PostHog(key, { host, flushAt: 20, flushInterval: 200, fetchRetryDelay: 200 })
  client.on('error', (error) => console.error(error))
  client.capture({ distinctId: user, event: 'plain_kind', properties })
  client.capture({ distinctId: user, event: 'Order Completed', properties: { ...properties, $current_url: 'https://shop.example/a?utm_source=news' } })
  client.identify({ distinctId: user, properties: { name: 'Mops', email: `${user}@pug.test` } })
  client.alias({ distinctId: user, alias: visitor })
  client.groupIdentify({ groupType: 'company', groupKey: 'pug', properties: { seats: 3 } })
  client.capture({ distinctId: user, event: 'Third Thing', properties: { $set_once: { first: name } } })
  await client.shutdown()
}

const programs = {
  'segment-node': segment,
  'rudder-node': rudder,
  'posthog-node': () => posthog('posthog-node'),
  'posthog-node-4': () => posthog('posthog-node-4'),
}
await programs[name]()
console.log('DONE')
process.exit(0)
