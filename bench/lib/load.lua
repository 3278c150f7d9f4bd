-- Sends the tokens of the file BENCH_TOKENS in turn, one a line, and prints what it counted as JSON. An empty line is a
-- request without a token.
local requests, next = {}, 0

function init()
  local head = "GET / HTTP/1.1\r\nHost: " .. wrk.host .. ":" .. wrk.port .. "\r\n"
  for token in io.lines(os.getenv("BENCH_TOKENS")) do
    local credentials = token == "" and "" or "Authorization: Bearer " .. token .. "\r\n"
    requests[#requests + 1] = head .. credentials .. "\r\n"
  end
end

function request()
  next = next % #requests + 1
  return requests[next]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\n{"answered":%d,"seconds":%f,"refused":%d,"broken":%d,"p50":%f,"p99":%f}\n',
    summary.requests, summary.duration / 1e6, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000
  ))
end
