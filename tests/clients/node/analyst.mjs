// What a Node program does with @clickhouse/client, as the analyst: node analyst.mjs URL USER PASSWORD DATABASE. One line of JSON.
import { createClient, ClickHouseError } from '@clickhouse/client'

const [url, username, password, database] = process.argv.slice(2)
const open = (more = {}) => createClient({ url, username, password, database, ...more })
const found = {}
const failing = async (name, promise) => {
  try { await promise; found[name] = 'none' } catch (error) { found[name] = error instanceof ClickHouseError ? `${error.code} ${error.type}` : `${error.name}: ${error.message}` }
}

const client = open({ compression: { response: true } })
found.ping = (await client.ping()).success
found.pingSelect = (await client.ping({ select: true })).success
for (const format of ['JSON', 'JSONEachRow', 'JSONCompactEachRowWithNamesAndTypes', 'JSONObjectEachRow', 'JSONColumnsWithMetadata']) {
  const answer = await client.query({ query: 'SELECT id, name, at, maybe, tags, map FROM t ORDER BY id', format })
  found[format] = await answer.json()
}
found.CSV = await (await client.query({ query: 'SELECT id, name FROM t ORDER BY id', format: 'CSVWithNames' })).text()
found.parameters = await (await client.query({
  query: 'SELECT {text:String} AS text, {day:Date} AS day, {at:DateTime64(3)} AS at, {list:Array(String)} AS list, {nothing:Nullable(String)} AS nothing, {map:Map(String, UInt8)} AS map',
  query_params: { text: "it's \\ \n é", day: '2026-03-03', at: new Date(Date.UTC(2026, 2, 3, 14, 22, 10, 123)), list: ["a'b", 'c'], nothing: null, map: { k: 1 } },
  format: 'JSONEachRow',
})).json()
let rows = 0, sum = 0
const stream = (await client.query({ query: 'SELECT number FROM numbers(300000)', format: 'JSONEachRow' })).stream()
for await (const batch of stream) for (const row of batch) { rows += 1; sum += Number(row.json().number) }
found.stream = [rows, sum]
await failing('insideStream', (async () => {
  const late = (await client.query({ query: 'SELECT number, throwIf(number = 500000) AS t FROM numbers(900000)', format: 'JSONEachRow' })).stream()
  for await (const batch of late) for (const row of batch) row.json()
})())
await failing('limit', (async () => {
  const many = (await client.query({ query: 'SELECT number FROM numbers(2000000)', format: 'JSONEachRow' })).stream()
  for await (const batch of many) for (const row of batch) row.json()
})())
await failing('syntax', client.query({ query: 'SELEC 1' }))
await failing('unknown', client.query({ query: 'SELECT * FROM nowhere' }))
await failing('insert', client.insert({ table: 't', values: [{ id: 99 }], format: 'JSONEachRow' }))
await failing('drop', client.command({ query: 'DROP TABLE t' }))
await failing('file', client.query({ query: "SELECT * FROM file('/etc/passwd', 'LineAsString')" }))
await failing('setting', client.query({ query: 'SELECT 1', clickhouse_settings: { readonly: '0' } }))
found.lowered = await (await client.query({ query: "SELECT getSetting('max_execution_time') AS held", format: 'JSONEachRow', clickhouse_settings: { max_execution_time: 5 } })).json()
const abort = new AbortController()
setTimeout(() => abort.abort(), 500)
await failing('abort', client.query({ query: 'SELECT sum(sipHash64(number)) FROM numbers(1900000000)', abort_signal: abort.signal }))
const named = await client.query({ query: 'SELECT 1 AS one', query_id: 'a-name-of-mine' })
found.queryId = named.query_id
found.summary = Object.keys((await client.command({ query: 'SELECT 1' })).summary ?? {}).length > 0
await client.close()
const stranger = open({ password: 'wrong' })
await failing('password', stranger.query({ query: 'SELECT 1' }))
await stranger.close()
console.log(JSON.stringify(found))
