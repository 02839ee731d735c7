-- Decides a batch of takes and appends the outcome of each to the request log's stream, in one atomic step:
-- a decision that was answered is a decision that was recorded.
--
-- KEYS[1]     the stream
-- KEYS[2]     the stream's hash: epoch (names one life of the stream), seq (records appended so far)
-- KEYS[2 + i] the levels of item i's subject: the tick at which its default bucket is full again; behind it
--             ' <name>:<tick>' of each other bucket, and ' <name>:<spent>-<end>' of each quota, with the tick
--             at which its period ends. Absent when all are full
-- ARGV[1]     deadline, in ticks: past it the caller no longer waits, so nothing is done
-- then for each item i:
--   capacity  tokens a full default bucket holds; 0: no bucket is asked, the outcome is known
--   interval  ticks in which one token comes back to it; where no bucket is asked: the outcome to record.
--             Further limits of the take stand behind it, ' +<name>:<capacity>:<interval>' for a bucket and
--             ' +<name>:<capacity>:<begin>-<end>' for a quota of a period; behind that '-<spent>', if that is
--             known from elsewhere. '~' in the place of '+': the limit is a shadow, and denies nothing
--   cost      tokens asked for
--   record    bytes to append; empty: the item only asks and spends nothing (a peek); '=': the item is the
--             idempotency key of the next one: its capacity are the milliseconds it is remembered, its
--             interval is what is asked, as a number
--
-- A take is admitted if all its limits have room, and then they are all debited; else none is.
--
-- Returns {now, answer...}; after the deadline {now} alone. An answer is
--   n >= 0    admitted (or recorded); the bucket is full again in n ticks
--   n < 0     denied; the bucket is full again in -1 - n ticks
--   nil       the item's arguments are no numbers the arithmetic holds; the others are unaffected
--   {n, ...}  of a take with further limits: the default bucket's answer, and one for each of them, by
--             itself; of a quota n, or -1 - n, is what is spent
--   'unknown' of such a take: what a quota had spent in its period was lost with Redis's data; nothing is done
-- of an idempotency key
--   0         the first time; it is remembered if the take is admitted
--   n > 0     the answer of its take is the first one's, given at tick n; nothing was spent or recorded.
--             Where the plan has other limits by now, it is the default bucket's alone
--   -1        something else was asked with it; nothing was done
--
-- A tick is 1/16 µs since 2025-01-01; every number is an integer below 2^53, exact in a double.
-- Lua never rolls back, so everything is computed before the first write.

local TICKS_PER_SECOND, EPOCH_SECONDS, LIMIT = 16000000, 1735689600, 9007199254740992
local ceil, floor, max, min, tonumber = math.ceil, math.floor, math.max, math.min, tonumber
local format, gmatch, match = string.format, string.gmatch, string.match
local KEYS, ARGV = KEYS, ARGV

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
local full_at, others, changed = {}, {}, {} -- by key: of the default bucket, of the rest, whether to write
local firsts, lifetimes = {}, {} -- by idempotency key
local answers, records = { now }, {}
local epoch

-- When Redis began to record: what it held before is lost.
local function beginning()
  epoch = epoch or whole(redis.call('HGET', log, 'epoch'), 0) or now
  return epoch
end

-- The levels that are stored for item i. What the script did not write (by tonumber even 'nan' is a number)
-- is as good as absent.
local function levels(i)
  local key = KEYS[i + 2]
  if full_at[key] then
    return full_at[key], others[key] or ''
  end
  local full = whole(stored[i], 0)
  if full or not stored[i] then
    return full or now, ''
  end
  local first, rest = match(stored[i], '^(%d+)( .+)$')
  return whole(first, 0) or now, rest or ''
end

-- Of the take that is looked at, by further limit: its name, what it holds above its floor, that after the
-- take, the level from which it counts, and where the period of a quota ends.
local names, held, spent, floors, ends = {}, {}, {}, {}, {}

-- Look at the further limits of a plan. Returns how many there are, whether those that may deny have room,
-- and which have none. Nil, if the arguments are no numbers the arithmetic holds; 'unknown', if a level is lost.
local function look(plan, cost, level_of)
  local n, admitted, violated = 0, true, ''
  for mark, name, most, rate, last, before in gmatch(plan, ' ([+~])([%w_]+):(%d+):(%d+)%-?(%d*)%-?(%d*)') do
    n = n + 1
    local capacity, unit, level = tonumber(most), tonumber(rate), level_of[name]
    local top
    names[n] = name
    if last == '' then
      top = capacity * unit
      held[n], floors[n], ends[n] = min(max((level or now) - now, 0), top), now, ''
      spent[n] = held[n] + cost * unit
    else
      top = capacity
      local known_last = level_of[name .. '-']
      if tonumber(last) <= now and tonumber(known_last or 0) > now then
        last = known_last -- the call was on its way when the period ended, and others have begun the next
      end
      if not level or level_of[name .. '-'] ~= last then
        level = tonumber(before) or 0
        if before == '' and beginning() > unit then
          return 'unknown'
        end
      end
      held[n], floors[n], ends[n] = level, 0, '-' .. last
      spent[n] = level + cost
    end
    if now + top >= LIMIT then -- what is spent may be beyond it, inexact, and is above the top then
      return nil
    end
    if spent[n] > top then
      admitted = admitted and mark == '~'
      violated = violated .. ' ' .. mark .. name
      spent[n] = false
    end
  end
  return n, admitted, violated
end

-- The levels of the further limits, by name; of a quota also where its period ends, by its name and '-'.
local function levels_in(rest)
  local level_of = {}
  for name, level, last in gmatch(rest, ' ([%w_]+):(%d+)(%-?%d*)') do
    level_of[name] = tonumber(level)
    if last ~= '' then
      level_of[name .. '-'] = string.sub(last, 2)
    end
  end
  return level_of
end

local function decide(i)
  local key, at = KEYS[i + 2], 4 * i - 2
  local capacity, interval, cost, record = whole(ARGV[at], 1), whole(ARGV[at + 1], 1), whole(ARGV[at + 2], 1), ARGV[at + 3]
  local plan
  if not interval then
    interval, plan = match(ARGV[at + 1], '^(%d+)( .+)$')
    interval = whole(interval, 1)
  end
  if not (capacity and interval and cost) or now + capacity * interval >= LIMIT then
    return false
  end
  local refill = capacity * interval
  local known, rest = levels(i)
  -- Neither a clock that jumped back nor a lowered burst locks out for longer than one refill: what
  -- lies beyond that is cut off, and stays so even if this item is denied.
  local full = min(max(known, now), now + refill)
  local after = full + cost * interval
  local fits = after <= now + refill
  local admitted, n, violated, level_of = fits, nil, '', nil

  if plan then
    local have_room
    level_of = levels_in(rest)
    n, have_room, violated = look(plan, cost, level_of)
    if not have_room and type(n) ~= 'number' then
      return n or false
    end
    admitted = fits and have_room
    if not fits then
      violated = violated .. ' +default'
    end
  end

  local is_spent = admitted and record ~= ''
  if record ~= '' and (admitted or full < known or plan) then
    full = is_spent and after or full
    full_at[key], changed[key] = full, true
    if plan then
      rest = ''
      for k = 1, n do
        level_of[names[k]] = nil
        rest = rest .. format(' %s:%.0f%s', names[k], floors[k] + (is_spent and spent[k] or held[k]), ends[k])
      end
      for name, level in pairs(level_of) do
        if type(level) == 'number' then
          local last = level_of[name .. '-']
          -- What is full again, or whose period is over, is not kept.
          if tonumber(last or level) > now then
            rest = rest .. format(last and ' %s:%.0f-%s' or ' %s:%.0f', name, level, last)
          end
        end
      end
    end
    others[key] = rest
  end
  if record ~= '' then
    local remaining = floor((refill - (full - now)) / interval)
    records[#records + 1] = record
    records[#records + 1] = format('%d %.0f%s', admitted and 200 or 429, remaining, violated)
  end
  local answer = fits and full - now or now - full - 1
  if not plan then
    return answer
  end
  local all = { answer }
  for k = 1, n do
    all[k + 1] = spent[k] and (is_spent and spent[k] or held[k]) or -1 - held[k]
  end
  return all, admitted
end

-- Which limits a take has, whatever their numbers: a name and its mark each, behind that of a quota '-'.
local function shape_of(interval)
  local shape = string.gsub(match(interval, ' (.+)$') or '', '%-[%d%-]+', '-')
  return (string.gsub(shape, ':%d+', ''))
end

-- Decide item i with the idempotency key before it.
local function decide_once(i)
  local key, at = KEYS[i + 1], 4 * i - 6
  local shape_now = shape_of(ARGV[at + 5])
  local before = firsts[key] or stored[i - 1]
  if before then
    local asked, when, first, others_then, shape = match(before, '^(%d+) (%d+) (%d+)([%d %-]*)(.*)$')
    if asked ~= ARGV[at + 1] then
      answers[i], answers[i + 1] = -1, 0
      return
    end
    answers[i], answers[i + 1] = tonumber(when), { tonumber(first) }
    if shape == shape_now then
      for number in gmatch(others_then, '%-?%d+') do
        table.insert(answers[i + 1], tonumber(number))
      end
    end
    return
  end
  local answer, admitted = decide(i)
  answers[i], answers[i + 1] = 0, answer
  if admitted == nil then
    admitted = type(answer) == 'number' and answer >= 0
  end
  if admitted and ARGV[4 * i + 1] ~= '' then
    firsts[key] = format('%s %.0f', ARGV[at + 1], now)
    for _, number in ipairs(type(answer) == 'table' and answer or { answer }) do
      firsts[key] = firsts[key] .. format(' %.0f', number)
    end
    firsts[key] = firsts[key] .. ' ' .. shape_now
    lifetimes[key] = ARGV[at]
  end
end

for i = 1, #KEYS - 2 do
  local at = 4 * i - 2
  if ARGV[at + 3] == '=' then
    answers[i + 1] = 0 -- the next item sees to it
  elseif ARGV[at] == '0' then
    answers[i + 1] = 0
    records[#records + 1] = ARGV[at + 3]
    records[#records + 1] = ARGV[at + 1]
  elseif i > 1 and ARGV[at - 1] == '=' then
    decide_once(i)
  else
    answers[i + 1] = decide(i)
  end
end

for key in pairs(changed) do
  local full, rest = full_at[key], others[key]
  local last, value = full, format('%.0f', full)
  if rest ~= '' then
    value = value .. rest
    for tick in gmatch(rest, '(%d+)%f[ %z]') do
      last = max(last, tonumber(tick))
    end
  end
  if last > now then
    redis.call('SET', key, value, 'PX', ceil((last - now) / 16000))
  end
end
for key, answer in pairs(firsts) do
  redis.call('SET', key, answer, 'PX', lifetimes[key])
end

if #records > 0 then
  local count = #records / 2
  local seq = redis.call('HINCRBY', log, 'seq', count)
  local epoch = redis.call('HGET', log, 'epoch')
  if not epoch then
    epoch = format('%.0f', now)
    redis.call('HSET', log, 'epoch', epoch)
  end
  local head = format('%s %.0f %.0f', epoch, seq - count, now)
  redis.call('XADD', stream, '*', 'head', head, unpack(records))
end

return answers
