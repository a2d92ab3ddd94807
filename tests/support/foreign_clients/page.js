// What a site's own bundle holds: the clients, imported as their manuals say.
import { AnalyticsBrowser } from '@segment/analytics-next'
import { RudderAnalytics } from '@rudderstack/analytics-js/bundled'
import posthog from 'posthog-js'
import posthogThen from 'posthog-js-1.200'

window.clients = { AnalyticsBrowser, RudderAnalytics, posthog, posthogThen }
