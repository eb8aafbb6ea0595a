// Reads [{id, pg, url, addresses}] on standard input, opens each URL with the `pg` package in the folder `pg` as Cipher
// does, and prints [{id, error}] or [{id, database, user, encrypted, name}]; `name` is the text that a parameter comes
// back as. `addresses` ({host: IPv4 address}) stands in for DNS.
'use strict'

process.removeAllListeners('warning')
process.on('warning', () => {})

const QUERY = `SELECT current_database() AS database, session_user AS "user", $1::text AS name,
  (SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()) AS encrypted`

const dns = require('dns')
const lookup = dns.lookup
const known = new Map()
dns.lookup = (host, options, callback) => {
  if (!known.has(host)) return lookup(host, options, callback)
  const address = known.get(host)
  const answer = typeof options === 'function' ? options : callback
  process.nextTick(() => (options.all ? answer(null, [{ address, family: 4 }]) : answer(null, address, 4)))
}

async function open({ id, pg, url, addresses }) {
  for (const [host, address] of Object.entries(addresses)) known.set(host, address)
  const pool = new (require(pg).Pool)({ connectionString: url, max: 1, connectionTimeoutMillis: 10000 })
  pool.on('error', () => {})
  try {
    const { rows } = await pool.query(QUERY, ['grüß'])
    return { id, ...rows[0] }
  } catch (error) {
    return { id, error: `${error.code || error.name}: ${error.message}` }
  } finally {
    await pool.end().catch(() => {})
  }
}

async function main() {
  const chunks = []
  for await (const chunk of process.stdin) chunks.push(chunk)
  const waiting = JSON.parse(Buffer.concat(chunks).toString())
  const results = []
  const worker = async () => {
    for (let job = waiting.shift(); job; job = waiting.shift()) {
      try {
        results.push(await open(job))
      } catch (error) {
        results.push({ id: job.id, error: `${error.name}: ${error.message}` })
      }
    }
  }
  await Promise.all([worker(), worker(), worker(), worker()])
  process.stdout.write(JSON.stringify(results))
}

main()
