-- Decides a batch of takes on token buckets and appends the outcome of each to the request log's
-- stream, in one atomic step: a decision that was answered is a decision that was recorded.
--
-- KEYS[1]     the stream
-- KEYS[2]     the stream's hash: epoch (names one life of the stream), seq (records appended so far)
-- KEYS[2 + i] the bucket of item i: the tick at which it is full again; absent when it is full
-- ARGV[1]     deadline, in ticks: past it the caller no longer waits, so nothing is done
-- then for each item i:
--   capacity  tokens a full bucket holds; 0: no bucket is asked, the outcome is known
--   interval  ticks in which one token comes back; where no bucket is asked: the outcome to record
--   cost      tokens asked for
--   record    bytes to append; empty: the item only asks and spends nothing (a peek)
--
-- Returns {now, answer...}; after the deadline {now} alone. An answer is
--   n >= 0    admitted (or recorded); the bucket is full again in n ticks
--   n < 0     denied; the bucket is full again in -1 - n ticks
--   nil       the item's arguments are no numbers the arithmetic holds; the others are unaffected
--
-- A tick is 1/16 µs since 2025-01-01; every number is an integer below 2^53, exact in a double.
-- Lua never rolls back, so everything is computed before the first write.

local TICKS_PER_SECOND, EPOCH_SECONDS, LIMIT = 16000000, 1735689600, 9007199254740992

local stream, log = KEYS[1], KEYS[2]
local time = redis.call('TIME')
local now = (time[1] - EPOCH_SECONDS) * TICKS_PER_SECOND + time[2] * 16

if now > tonumber(ARGV[1]) then
  return { now }
end

local function whole(text, least)
  local number = tonumber(text)
  return number and number >= least and number < LIMIT and number % 1 == 0 and number or nil
end

local stored = redis.call('MGET', unpack(KEYS, 3))
local full_at, changed = {}, {}
local answers, records = { now }, {}

for i = 1, #KEYS - 2 do
  local key, at = KEYS[i + 2], 4 * i - 2
  local capacity, interval = whole(ARGV[at], 0), whole(ARGV[at + 1], 0)
  local cost, record = whole(ARGV[at + 2], 1), ARGV[at + 3]

  if capacity == 0 then
    answers[i + 1] = 0
    records[#records + 1] = record
    records[#records + 1] = ARGV[at + 1]
  elseif not (capacity and interval and cost) or now + capacity * interval >= LIMIT then
    answers[i + 1] = false
  else
    local refill = capacity * interval
    -- What the script did not write (by tonumber even 'nan' is a number) is as good as absent.
    local known = full_at[key] or whole(stored[i], 0) or now
    -- Neither a clock that jumped back nor a lowered burst locks out for longer than one refill: what
    -- lies beyond that is cut off, and stays so even if this item is denied.
    local full = math.min(math.max(known, now), now + refill)
    local spent = full + cost * interval
    local admitted = spent <= now + refill
    if record ~= '' and (admitted or full < known) then
      full = admitted and spent or full
      full_at[key], changed[key] = full, true
    end
    answers[i + 1] = admitted and full - now or now - full - 1
    if record ~= '' then
      local remaining = math.floor((refill - (full - now)) / interval)
      records[#records + 1] = record
      records[#records + 1] = string.format('%d %.0f', admitted and 200 or 429, remaining)
    end
  end
end

for key in pairs(changed) do
  local full = full_at[key]
  redis.call('SET', key, string.format('%.0f', full), 'PX', math.ceil((full - now) / 16000))
end

if #records > 0 then
  local count = #records / 2
  local seq = redis.call('HINCRBY', log, 'seq', count)
  local epoch = redis.call('HGET', log, 'epoch')
  if not epoch then
    epoch = string.format('%.0f', now)
    redis.call('HSET', log, 'epoch', epoch)
  end
  local head = string.format('%s %.0f %.0f', epoch, seq - count, now)
  redis.call('XADD', stream, '*', 'head', head, unpack(records))
end

return answers
