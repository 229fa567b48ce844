-- What does wrk ask? The requests of a file in turn; and at the end it says what it found as one line of JSON.

local requests, next = {}, 0

function init(args)
  for text in io.open(args[1], "rb"):read("*a"):gmatch("[^%z]+") do requests[#requests + 1] = text end
end

function request()
  next = next % #requests + 1
  return requests[next]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format('\n{"requests":%d,"us":%d,"refused":%d,"broken":%d,"p50":%f,"p99":%f,"p999":%f}\n',
    summary.requests, summary.duration, errors.status, errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000, latency:percentile(99.9) / 1000))
end
