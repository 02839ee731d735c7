-- Keeps the stream within its share of Redis's memory: past it, the oldest tenth is dropped.
--
-- KEYS[1]  the stream
-- ARGV[1]  the bytes it may take
-- Returns the number of entries dropped.

-- All of its nodes: by default the five oldest stand for all, and a quiet hour's are a fraction of a busy one's.
if (redis.call('MEMORY', 'USAGE', KEYS[1], 'SAMPLES', 0) or 0) <= tonumber(ARGV[1]) then
  return 0
end
local length = redis.call('XLEN', KEYS[1])
return redis.call('XTRIM', KEYS[1], 'MAXLEN', math.floor(length * 0.9))
