-- Keeps the stream within its share of Redis's memory: past it, the oldest tenth is dropped, and again until it fits.
--
-- KEYS[1]  the stream
-- ARGV[1]  the bytes it may take
-- Returns the number of entries dropped.

-- By default only the oldest entries are weighed and taken for all, though those of a busier hour weigh more.
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
