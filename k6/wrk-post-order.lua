-- Orders one unit with each request, each as another buyer:
--   url=http://localhost:5001/api/flash-sales/product1/order
--   wrk <options> -s k6/wrk-post-order.lua $url
-- docs/source-document.md has the options of the source document's scenarios. `npm run load --
-- <scenario> --with wrk` runs them on a new sale and compares its numbers with the replies.
--
-- At its end wrk cuts off orders in progress. They may have taken units without a read reply: they
-- are counted as `unanswered`.

local threads = {}

-- Runs once for each thread; what is set becomes a global of the thread.
function setup(thread)
  thread:set('thread_number', #threads + 1)
  -- Another run has other buyers: a sale may cap the units of each buyer.
  thread:set('run_id', string.format('%x', os.time()))
  table.insert(threads, thread)
end

function init()
  asked = 0
  unexpected = 0
  by_status = {}
  by_code = {}
  path = wrk.path
end

function request()
  asked = asked + 1
  return wrk.format('POST', path, {
    ['Host'] = wrk.headers['Host'],
    ['Content-Type'] = 'application/json',
    ['X-User-ID'] = string.format('wrk-%s-%d-%d', run_id, thread_number, asked),
  })
end

function response(status, headers, body)
  by_status[status] = (by_status[status] or 0) + 1
  if status == 200 then return end
  local code = body:match('"code":"([A-Z_]+)"') or 'no_code'
  by_code[code] = (by_code[code] or 0) + 1
  if code == 'no_code' or (status ~= 400 and status ~= 429) then unexpected = unexpected + 1 end
end

local function add(sums, counts)
  for key, count in pairs(counts) do sums[key] = (sums[key] or 0) + count end
end

local function json_counts(sums)
  local members = {}
  for key, count in pairs(sums) do table.insert(members, string.format('"%s":%d', key, count)) end
  return '{' .. table.concat(members, ',') .. '}'
end

function done(summary, latency)
  local statuses, codes, total, bad, answered = {}, {}, 0, 0, 0
  for _, thread in ipairs(threads) do
    add(statuses, thread:get('by_status'))
    add(codes, thread:get('by_code'))
    total = total + thread:get('asked')
    bad = bad + thread:get('unexpected')
  end
  for _, count in pairs(statuses) do answered = answered + count end
  local errors = summary.errors
  -- One line, for programs as well: latencies in milliseconds. See Crowd in scripts/load/crowd.ts.
  print(string.format(
    'result: {"seconds":%.3f,"requests":%d,"accepted":%d,"refused":%s,"unexpected":%d,"unanswered":%d,"broken":%d,' ..
      '"latencyMs":{"p50":%.3f,"p95":%.3f,"p99":%.3f,"max":%.3f}}',
    summary.duration / 1e6, answered, statuses[200] or 0, json_counts(codes), bad, total - answered,
    errors.connect + errors.read + errors.write,
    latency:percentile(50) / 1e3, latency:percentile(95) / 1e3, latency:percentile(99) / 1e3, latency.max / 1e3
  ))
end
