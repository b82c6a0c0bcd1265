// Responds with a greeting and its own version and commit. It uses Node's standard library only.
import { createServer } from 'node:http'

const { PORT = '8080', GREETING = 'Hello', VERSION = 'unknown', COMMIT = 'unknown' } = process.env
const FINISH_MS = 3000 // how long open requests may take to finish when the server stops

const pages = {
  '/': () => ({ greeting: `${GREETING}, world!`, version: VERSION, commit: COMMIT }),
  '/healthz': () => ({ status: 'ok' }),
}

let stopping = false

const server = createServer((request, response) => {
  const send = (status, body, headers = {}) => {
    const text = JSON.stringify(body) + '\n'
    if (stopping) headers.Connection = 'close'
    response.writeHead(status, { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(text), ...headers })
    response.end(text) // Node omits the body for a HEAD request
  }
  const path = request.url.split('?', 1)[0]
  if (!Object.hasOwn(pages, path)) return send(404, { error: `nothing is at ${path}` })
  if (!['GET', 'HEAD'].includes(request.method)) return send(405, { error: 'only GET is answered' }, { Allow: 'GET, HEAD' })
  return send(200, pages[path]())
})

server.on('error', (error) => {
  const why = error.code === 'EADDRINUSE' ? `port ${PORT} is taken; set PORT to another one` : error.message
  console.error(`hello-world ${VERSION} cannot start: ${why}`)
  process.exit(1)
})

// Kubernetes sends SIGTERM, Ctrl-C in a terminal SIGINT. PID 1 of a container ignores both unless it handles them.
const stop = (signal) => {
  if (stopping) return
  stopping = true
  server.close(() => process.exit(0)) // no new connections; idle ones are closed, open requests are finished
  console.log(`hello-world ${VERSION} stops on ${signal}`)
  setTimeout(() => server.closeAllConnections(), FINISH_MS).unref()
}
process.on('SIGTERM', stop)
process.on('SIGINT', stop)

server.listen({ port: PORT }, () => {
  console.log(`hello-world ${VERSION} (${COMMIT}) listens on port ${server.address().port}`)
})
