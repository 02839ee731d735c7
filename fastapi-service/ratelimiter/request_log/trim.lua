-- Keeps the stream within its share of Redis's memory: past it, the oldest tenth is dropped, and again until it fits.
--
-- KEYS[1]  the stream
-- ARGV[1]  the bytes it may take
-- Returns the number of entries dropped.

-- All of its nodes: by default the five oldest stand for all, and a quiet hour's are a fraction of a busy one's.
local function weighs()
  return redis.call('MEMORY', 'USAGE', KEYS[1], 'SAMPLES', 0) or 0
end

local dropped = 0
while weighs() > tonumber(ARGV[1]) do
  local length = redis.call('XLEN', KEYS[1])
  if length == 0 then
    break
  end
  dropped = dropped + redis.call('XTRIM', KEYS[1], 'MAXLEN', math.floor(length * 0.9))
end
return dropped
