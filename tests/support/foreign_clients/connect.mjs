// The library that the original's server client is made of, with the options it gives it
// [sdk-protocol 2]: HOST PUBLIC PRIVATE DESCRIPTORS. Prints what happened as one line of JSON.
import { readFileSync } from 'node:fs'
import { randomUUID } from 'node:crypto'
import { createFileRegistry, create, fromBinary } from '@bufbuild/protobuf'
import { FileDescriptorSetSchema, timestampNow } from '@bufbuild/protobuf/wkt'
import { Code, ConnectError, createClient } from '@connectrpc/connect'
import { createConnectTransport } from '@connectrpc/connect-node'

const [host, publicKey, privateKey, descriptors] = process.argv.slice(2)
const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, readFileSync(descriptors)))
const client = (service, key) => createClient(registry.getService(service), createConnectTransport({
  baseUrl: host,
  httpVersion: '1.1',
  useBinaryFormat: true,
  defaultTimeoutMs: 10000,
  interceptors: [(next) => (request) => { request.header.set('x-api-key', key); return next(request) }],
}))
const Event = registry.getMessage('sdk.events.v1.Event')
const Value = registry.getMessage('common.v1.PropertyValue')
const value = (field, told) => create(Value, { value: { case: field, value: told } })
const session = randomUUID()
const events = (number, distinctId, kind) => Array.from({ length: number }, (_, index) => create(Event, {
  eventId: randomUUID(), kind, distinctId, sessionId: session, occurTime: timestampNow(),
  autoProperties: { $lib: value('stringValue', 'pug-node'), $platform: value('stringValue', 'server') },
  customProperties: { index: value('intValue', BigInt(index)), price: value('doubleValue', 12), gift: value('boolValue', true), at: value('timestampValue', timestampNow()) },
}))
// The client's rule: permanent codes are dropped, everything else goes out again as it is.
const permanent = [Code.InvalidArgument, Code.NotFound, Code.AlreadyExists, Code.PermissionDenied, Code.FailedPrecondition, Code.Unimplemented, Code.Unauthenticated]
async function deliver(ingest, batch) {
  for (let attempt = 1; attempt <= 6; attempt += 1) {
    try {
      return { attempt, ...(await ingest.batchCreate({ events: batch })) }
    } catch (error) {
      if (permanent.includes(ConnectError.from(error).code)) throw error
    }
    await new Promise((done) => setTimeout(done, 100))
  }
  throw new Error('not delivered')
}
const code = async (call) => { try { await call() } catch (error) { return Code[ConnectError.from(error).code] } return 'ok' }

const ingest = client('sdk.events.v1.EventsService', privateKey)
const people = client('shared.profiles.v1.ProfilesService', privateKey)
const first = await deliver(ingest, events(100, 'anon-connect-node', 'connect_kind'))
await client('sdk.profiles.v1.ProfilesSDKService', privateKey).identify({ externalId: 'user-connect-node', anonymousId: 'anon-connect-node', traits: { name: 'Mops' } })
const codes = {
  empty: await code(() => ingest.batchCreate({})),
  broken: await code(() => ingest.batchCreate({ events: [create(Event, { kind: 'not a kind' })] })),
  stranger: await code(() => client('sdk.events.v1.EventsService', 'prv_' + '0'.repeat(20)).batchCreate({})),
  nobody: await code(() => people.getByExternalId({ externalId: 'nobody' })),
  publicRead: await code(() => client('shared.profiles.v1.ProfilesService', publicKey).getByExternalId({ externalId: 'nobody' })),
  devices: await code(() => client('sdk.devices.v1.DevicesService', publicKey).subscribe({})),
}
let known
for (let attempt = 0; attempt < 100 && !known?.activity; attempt += 1) {
  try { known = (await people.getByExternalId({ externalId: 'user-connect-node' })).profile } catch { }
  await new Promise((done) => setTimeout(done, 200))
}
const listed = []
for await (const answer of people.list({})) listed.push(...answer.profiles.map((each) => each.externalId || each.id))
console.log(JSON.stringify({ attempt: first.attempt, accepted: first.accepted, codes, traits: known?.properties, listed }))
process.exit(0)
