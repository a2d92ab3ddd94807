// A browser on a page of another origin, with one client of another product: NAME HOST KEY.
// Prints what the page knows about itself as one line of JSON.
import { createServer } from 'node:http'
import { build } from 'esbuild'
import chromium from '@sparticuz/chromium'
import { chromium as playwright } from 'playwright-core'

const [name, host, key] = process.argv.slice(2)
const bundle = await build({ entryPoints: ['page.js'], bundle: true, write: false, format: 'iife', define: { 'process.env.NODE_ENV': '"production"' }, logLevel: 'error' })
const script = bundle.outputFiles[0].contents
const site = createServer((request, response) => {
  const isScript = request.url === '/site.js'
  response.setHeader('content-type', isScript ? 'text/javascript' : 'text/html; charset=utf-8')
  response.end(isScript ? script : '<!doctype html><title>Kennel</title><button id="buy" class="big red">Buy now</button><script src="/site.js"></script>')
})
await new Promise((done) => site.listen(0, '127.0.0.1', done))
const origin = `http://127.0.0.1:${site.address().port}`

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
  'segment-next': (page) => programs.segment(page, 'standard'),
  'segment-next-batching': (page) => programs.segment(page, 'batching'),
  'rudder-js': (page) => programs.rudder(page, false),
  'rudder-js-beacon': (page) => programs.rudder(page, true),
}

const browser = await playwright.launch({ executablePath: await chromium.executablePath(), args: chromium.args, headless: true })
const context = await browser.newContext({ userAgent: 'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/147.0.0.0 Safari/537.36' })
const page = await context.newPage()
const refused = []
page.on('response', (response) => { if (response.status() >= 400) refused.push(`${response.status()} ${response.url()}`) })
page.on('console', (message) => { if (message.type() === 'error') console.error(message.text()) })
await page.goto(`${origin}/kennel?utm_source=news&utm_medium=email`)
const visitor = await chosen[name](page)
await page.goto('about:blank')
await page.waitForTimeout(1500)
await browser.close()
site.close()
console.log(JSON.stringify({ visitor, refused }))
process.exit(0)
