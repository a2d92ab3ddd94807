// The libraries that the original's browser client is made of, as a site bundles them.
import { create, createFileRegistry, fromBinary, toBinary } from '@bufbuild/protobuf'
import { FileDescriptorSetSchema, timestampNow } from '@bufbuild/protobuf/wkt'
import { Code, ConnectError, createClient } from '@connectrpc/connect'
import { createConnectTransport } from '@connectrpc/connect-web'

window.start = (host, key, descriptors) => {
  const bytes = Uint8Array.from(atob(descriptors), (letter) => letter.charCodeAt(0))
  const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, bytes))
  const Event = registry.getMessage('sdk.events.v1.Event')
  const Request = registry.getMessage('sdk.events.v1.BatchCreateRequest')
  const Value = registry.getMessage('common.v1.PropertyValue')
  const text = (told) => create(Value, { value: { case: 'stringValue', value: told } })
  const session = crypto.randomUUID()
  const client = (service, chosen = key) => createClient(registry.getService(service), createConnectTransport({
    baseUrl: host,
    useBinaryFormat: true,
    interceptors: [(next) => (request) => { request.header.set('x-api-key', chosen); return next(request) }],
  }))
  const event = (kind, distinctId, changes = {}) => create(Event, {
    eventId: crypto.randomUUID(), kind, distinctId, sessionId: session, occurTime: timestampNow(),
    autoProperties: { $platform: text('web'), $url: text(location.href), $referrer: text(''), $screenWidth: text('800'), $screenHeight: text('600') },
    ...changes,
  })
  const cookieless = (kind) => event(kind, undefined, { sessionId: undefined, cookieless: true })
  const send = async (events, chosen) => {
    for (let attempt = 1; attempt <= 6; attempt += 1) {
      try {
        const answer = await client('sdk.events.v1.EventsService', chosen).batchCreate({ events })
        return { attempt, accepted: answer.accepted }
      } catch (error) {
        const { code } = ConnectError.from(error)
        if ([Code.InvalidArgument, Code.Unauthenticated, Code.NotFound, Code.Unimplemented].includes(code)) return { attempt, code: Code[code] }
      }
      await new Promise((done) => setTimeout(done, 100))
    }
    return { code: 'undelivered' }
  }
  const beacon = (events) => navigator.sendBeacon(
    `${host}/sdk.events.v1.EventsService/BatchCreate?api_key=${encodeURIComponent(key)}`,
    new Blob([toBinary(Request, create(Request, { events }))], { type: 'application/proto' }),
  )
  const identify = (externalId, anonymousId) => client('sdk.profiles.v1.ProfilesSDKService').identify({ externalId, anonymousId, traits: { name: 'Mops' } })
  addEventListener('pagehide', () => beacon([event('while_leaving', 'user-connect-web'), cookieless('connect_cookieless_leaving')]))
  return { send, beacon, identify, event, cookieless }
}
