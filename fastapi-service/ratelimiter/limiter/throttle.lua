-- Spends one token of the bucket of a client's failures, or only looks at it. As token_bucket.lua, but for
-- one bucket, and without a record.
--
-- KEYS[1] the bucket: the tick at which it is full again; absent when it is full
-- ARGV[1] tokens a full bucket holds
-- ARGV[2] ticks in which one token comes back
-- ARGV[3] 1: spend; 0: look
--
-- Returns {now, n}, in ticks: n >= 0, there was a token, and the bucket is full again in n; n < 0, there was
-- none, and it is in -1 - n.
-- A tick is 1/16 µs since 2025-01-01; every number is an integer below 2^53, exact in a double.

local time = redis.call('TIME')
local now = (time[1] - 1735689600) * 16000000 + time[2] * 16
local refill, interval = ARGV[1] * ARGV[2], tonumber(ARGV[2])

-- Not even a clock that jumped back locks out for longer than one refill.
local full = math.min(math.max(tonumber(redis.call('GET', KEYS[1])) or now, now), now + refill)

if full + interval > now + refill then
  return { now, now - full - 1 }
end
if ARGV[3] == '1' then
  full = full + interval
  redis.call('SET', KEYS[1], string.format('%.0f', full), 'PX', math.ceil((full - now) / 16000))
end
return { now, full - now }
