// A site with its own bundle on an origin of its own, and a browser that looks at it.
import { createServer } from 'node:http'
import { build } from 'esbuild'
import chromium from '@sparticuz/chromium'
import { chromium as playwright } from 'playwright-core'

const AGENT = 'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/147.0.0.0 Safari/537.36'
const PAGE = '<!doctype html><title>Kennel</title><button id="buy" class="big red">Buy now</button><script src="/site.js"></script>'

// The package's own arguments switch off what keeps origins apart, which is what is tried here.
const ARGUMENTS = chromium.args.filter((each) => !['--disable-web-security', '--allow-running-insecure-content'].includes(each))

export async function visit(entry, what) {
  const bundle = await build({ entryPoints: [entry], bundle: true, write: false, format: 'iife', define: { 'process.env.NODE_ENV': '"production"' }, logLevel: 'error' })
  const script = bundle.outputFiles[0].contents
  const site = createServer((request, response) => {
    const isScript = request.url === '/site.js'
    response.setHeader('content-type', isScript ? 'text/javascript' : 'text/html; charset=utf-8')
    response.end(isScript ? script : PAGE)
  })
  await new Promise((done) => site.listen(0, '127.0.0.1', done))
  const browser = await playwright.launch({ executablePath: await chromium.executablePath(), args: ARGUMENTS, headless: true })
  const context = await browser.newContext({ userAgent: AGENT })
  const page = await context.newPage()
  page.on('console', (message) => { if (message.type() === 'error') console.error(message.text()) })
  await page.goto(`http://127.0.0.1:${site.address().port}/kennel?utm_source=news&utm_medium=email`)
  const told = await what(page)
  await page.goto('about:blank')
  await page.waitForTimeout(1500)
  await browser.close()
  site.close()
  return told
}
