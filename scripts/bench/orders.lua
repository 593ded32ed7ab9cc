-- What a closed-loop round of `npm run bench` asks, as cheaply as wrk can: the mode is the first argument after "--", the run's name the second.
--   fresh      each request is another buyer's
--   one-buyer  one buyer for each thread, who is told by the limit to wait
--   replays    the same order with the same key again and again, of 100 buyers for each thread
-- There is no response function: with one, wrk would keep and parse every reply.
local count, thread_count = 0, 0
local body = '{"quantity":1}'
local rest = '\r\nContent-Type: application/json\r\nContent-Length: ' .. #body .. '\r\n\r\n' .. body

function setup(thread)
  thread_count = thread_count + 1
  thread:set('number', thread_count)
end

function init(args)
  mode, run = args[1], args[2]
  head = 'POST ' .. wrk.path .. ' HTTP/1.1\r\nHost: ' .. wrk.headers['Host'] .. '\r\nX-User-ID: ' .. run .. '-' .. number .. '-'
  if mode == 'one-buyer' then
    fixed = head .. '0' .. rest
  elseif mode == 'replays' then
    again = {}
    for i = 1, 100 do
      again[i] = head .. i .. '\r\nIdempotency-Key: "key-' .. i .. '"' .. rest
    end
  end
end

function request()
  count = count + 1
  if mode == 'fresh' then
    return head .. count .. rest
  elseif mode == 'one-buyer' then
    return fixed
  end
  return again[count % 100 + 1]
end

function done(summary, latency)
  io.write(string.format(
    'result: {"seconds":%.6f,"requests":%d,"refused":%d,"broken":%d,"p50":%.3f,"p99":%.3f}\n',
    summary.duration / 1e6, summary.requests, summary.errors.status,
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
