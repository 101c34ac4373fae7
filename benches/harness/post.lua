-- For wrk: posts the file that REVIEW names, and prints the result as one line
-- of JSON that load.py reads. It defines no `request`, so wrk builds the request
-- once and spends its core on the connection, not on Lua.
local file = assert(io.open(assert(os.getenv("REVIEW"), "REVIEW is not set"), "rb"))
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = file:read("*a")
file:close()

-- A light load leaves this many milliseconds between a connection's requests.
local pause = tonumber(os.getenv("PAUSE_MS") or "0")
if pause > 0 then
  function delay()
    return pause
  end
end

function done(summary, latency, _)
  local e = summary.errors
  io.write(string.format(
    '\nresult {"requests": %d, "microseconds": %d, "p50_us": %d, "p99_us": %d, "max_us": %d, '
      .. '"errors": {"connect": %d, "read": %d, "write": %d, "timeout": %d, "status": %d}}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), latency.max,
    e.connect, e.read, e.write, e.timeout, e.status))
end
