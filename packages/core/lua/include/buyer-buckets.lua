-- Token buckets of buyers, in two hashes. Buckets are written to the newer one. Once it is as old
-- as a bucket of the older one takes to fill, all of those are full, which is the same as none: the
-- older hash is deleted and becomes the newer. Fields (a buyer's id has no space):
--   buyer -> tokens:at µs, ' since' -> ms at which it became the newer, ' kept for' -> s to fill

-- Returns the newer and the older hash. Their texts have the buyers' buckets from index 3 on.
local function read_buckets(key0, key1, buyers)
  local newer, older = { key = key0 }, { key = key1 }
  for _, half in ipairs({ newer, older }) do
    half.texts = redis.call('HMGET', half.key, ' since', ' kept for', unpack(buyers))
    half.since, half.kept_for = tonumber(half.texts[1] or '0'), tonumber(half.texts[2] or '0')
  end
  if older.since > newer.since then
    newer, older = older, newer
  end
  return newer, older
end

-- Returns the tokens of the nth buyer, and whether they were written before the clock was set back.
local function tokens_of(newer, older, n, capacity, refill_rate, now_us)
  local text = newer.texts[n + 2] or older.texts[n + 2]
  if not text then
    return capacity, false
  end
  local tokens, at_us = string.match(text, '^([^:]+):(.+)$')
  local elapsed_us = now_us - tonumber(at_us)
  local refilled = tonumber(tokens) + math.max(0, elapsed_us) * refill_rate / 1000000
  return math.min(capacity, refilled), elapsed_us < 0
end

-- Writes tokens by buyer. kept_for: s in which an empty bucket fills, by the caller's settings.
local function write_buckets(newer, older, buckets, kept_for, now_us)
  -- Another process may have other settings: keep its buckets for as long as they need.
  local longest = math.max(kept_for, newer.kept_for, older.kept_for)
  local now_ms, fields, texts = math.floor(now_us / 1000), {}, {}
  local age = now_ms - newer.since
  -- Not in files and replicas: a lost bucket is a full one, which a buyer gets within seconds
  -- anyway, and buckets would be a quarter of what an order adds to the append-only file.
  redis.set_repl(redis.REPL_NONE)
  if age < 0 or age >= math.max(kept_for, older.kept_for) * 1000 then
    -- UNLINK frees it in the background. If it expired, Redis might stop until all of it is freed.
    redis.call('UNLINK', older.key)
    fields = { ' since', now_ms }
    -- After the clock was set back, the newer hash stays the newer, by the new clock.
    if age >= 0 then
      newer, older = older, newer
      newer.kept_for = 0
      -- The older one must expire first, or it would count as the newer one later.
      redis.call('EXPIRE', older.key, math.max(kept_for, older.kept_for))
    end
  end
  if kept_for > newer.kept_for then
    fields[#fields + 1] = ' kept for'
    fields[#fields + 1] = kept_for
  end
  for buyer, tokens in pairs(buckets) do
    local text = texts[tokens] or string.format('%.6f:%.0f', tokens, now_us)
    texts[tokens] = text
    fields[#fields + 1] = buyer
    fields[#fields + 1] = text
  end
  redis.call('HSET', newer.key, unpack(fields))
  redis.call('EXPIRE', newer.key, 2 * longest)
  redis.set_repl(redis.REPL_ALL)
end
