// A browser on a page of another origin, with one client of another product: NAME HOST KEY.
// Prints what the page knows about itself as one line of JSON.
import { visit } from './site.mjs'

const [name, host, key] = process.argv.slice(2)

const programs = {
  // Anonymous page view, an own event, a click; then a name; then another event while leaving.
  posthog: async (page, client) => {
    const visitor = await page.evaluate(async ([which, host, key]) => {
      const client = window.clients[which]
      window.running = client
      await new Promise((loaded) => client.init(key, { api_host: host, person_profiles: 'always', opt_out_useragent_filter: true, loaded, request_batching: true, persistence: 'localStorage' }))
      client.capture('Product Viewed', { plan: 'spro', price: 12.5 })
      return client.get_distinct_id()
    }, [client, host, key])
    await page.waitForTimeout(1500)
    await page.click('#buy')
    await page.evaluate((user) => {
      window.running.identify(user, { name: 'Mops' }, { first: 'web' })
      window.running.capture('plain_kind', { plan: 'spro' })
    }, `user-${name}`)
    await page.waitForTimeout(4500)
    await page.evaluate(() => window.running.capture('while_leaving'))
    return visitor
  },
  // A site that asks for no consent: nothing is kept in the browser.
  cookieless: async (page) => {
    await page.evaluate(async ([host, key]) => {
      const client = window.clients.posthog
      window.running = client
      await new Promise((loaded) => client.init(key, { api_host: host, cookieless_mode: 'always', opt_out_useragent_filter: true, loaded }))
      client.capture('cookieless_kind', { plan: 'spro' })
    }, [host, key])
    await page.waitForTimeout(4500)
    return await page.evaluate(() => window.running.get_distinct_id())
  },
  segment: async (page, strategy) => {
    const visitor = await page.evaluate(async ([host, key, strategy]) => {
      const client = new window.clients.AnalyticsBrowser()
      const destination = strategy === 'batching' ? { deliveryStrategy: { strategy, config: { size: 10, timeout: 300 } } } : {}
      client.load({ writeKey: key, cdnURL: host }, { integrations: { 'Segment.io': destination } })
      window.running = client
      await client.page('Home')
      await client.track('Product Viewed', { plan: 'spro', price: 12.5 })
      return (await client.user()).anonymousId()
    }, [host, key, strategy])
    await page.evaluate(async (user) => {
      await window.running.identify(user, { name: 'Mops' })
      await window.running.track('plain_kind', { plan: 'spro' })
    }, `user-${name}`)
    await page.waitForTimeout(1500)
    await page.evaluate(() => { window.running.track('while_leaving') })
    if (strategy !== 'batching') await page.waitForTimeout(500)
    return visitor
  },
  rudder: async (page, useBeacon) => {
    const visitor = await page.evaluate(async ([host, key, useBeacon]) => {
      const client = new window.clients.RudderAnalytics()
      client.load(key, host, { configUrl: host, useBeacon, logLevel: 'ERROR', beaconQueueOptions: { flushQueueInterval: 500 } })
      window.running = client
      await new Promise((done) => client.ready(done))
      client.page('Home')
      client.track('Product Viewed', { plan: 'spro', price: 12.5 })
      return client.getAnonymousId()
    }, [host, key, useBeacon])
    await page.evaluate((user) => {
      window.running.identify(user, { name: 'Mops' })
      window.running.track('plain_kind', { plan: 'spro' })
    }, `user-${name}`)
    await page.waitForTimeout(3000)
    await page.evaluate(() => window.running.track('while_leaving'))
    if (!useBeacon) await page.waitForTimeout(1500)
    return visitor
  },
}
const chosen = {
  'posthog-js': (page) => programs.posthog(page, 'posthog'),
  'posthog-js-1.200': (page) => programs.posthog(page, 'posthogThen'),
  'posthog-js-cookieless': (page) => programs.cookieless(page),
  'segment-next': (page) => programs.segment(page, 'standard'),
  'segment-next-batching': (page) => programs.segment(page, 'batching'),
  'rudder-js': (page) => programs.rudder(page, false),
  'rudder-js-beacon': (page) => programs.rudder(page, true),
}

const visitor = await visit('page.js', chosen[name])
console.log(JSON.stringify({ visitor }))
process.exit(0)
