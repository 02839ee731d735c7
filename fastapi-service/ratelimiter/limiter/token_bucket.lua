-- Decides a batch of takes and appends the outcome of each to the request log's stream, in one atomic step:
-- a decision that was answered is a decision that was recorded.
--
-- KEYS[1]     the stream
-- KEYS[2]     the stream's hash: epoch (names one life of the stream), seq (records appended so far)
-- KEYS[2 + i] the levels of item i's subject. Of the default bucket alone: the tick at which it is full again.
--             Of a plan: its shape (below), and behind it, in eight bytes each, that tick, and of each limit in
--             their order the tick at which its bucket is full again, or what is spent of a quota, or UNKNOWN.
--             Absent when all are full
-- ARGV[1]     deadline, in ticks: past it the caller no longer waits, so nothing is done
-- then for each item i:
--   capacity  tokens a full default bucket holds; 0: no bucket is asked, the outcome is known
--   interval  ticks in which one token comes back to it; where no bucket is asked: the outcome to record.
--             Of a plan a JSON object: "interval"; "shape", '<name>-<end> ' of each quota and '<name> ' of
--             each bucket, and '|'; "limits", of each in that order
--               name, capacity
--               interval     of a bucket
--               begin, stop  of a quota: the ticks at which its period begins and ends
--               spent        of a quota: what is spent of it, where that is known from elsewhere
--               mark         '+': it holds; '~': it is a shadow, and denies nothing; absent: it is not asked,
--                            and keeps its level
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
--   {n, ...}  of a plan: the default bucket's answer, and one for each limit that is asked, by itself; of a
--             quota n, or -1 - n, is what is spent
--   'unknown' of a plan: what is spent of a quota is not known here, or its period is over; nothing is done
-- of an idempotency key
--   0         the first time; it is remembered if the take is admitted
--   n > 0     the answer of its take is the first one's, given at tick n; nothing was spent or recorded.
--             Where the plan has other limits by now, it is the default bucket's alone
--   -1        something else was asked with it; nothing was done
--
-- A tick is 1/16 µs since 2025-01-01; every number is an integer below 2^53, exact in a double.
-- Lua never rolls back, so everything is computed before the first write.

local TICKS_PER_SECOND, EPOCH_SECONDS, LIMIT = 16000000, 1735689600, 9007199254740992
local UNKNOWN = LIMIT -- stands for what is spent of a quota, where that is to be found out
local ceil, floor, max, min, tonumber = math.ceil, math.floor, math.max, math.min, tonumber
local format, gmatch, match, sub = string.format, string.gmatch, string.match, string.sub
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
-- By key, what is to be written: the default bucket's level, or those of a plan, and when all are full.
local full_at, levels_of, last_at = {}, {}, {}
local firsts, lifetimes = {}, {} -- by idempotency key
local answers, records = { now }, {}

local epoch
-- When Redis began to record: what it held before is lost.
local function beginning()
  epoch = epoch or whole(redis.call('HGET', log, 'epoch'), 0) or now
  return epoch
end

local plans = {}
-- Takes of one tier share a plan, so each is read once a call.
local function plan_of(text)
  local plan = plans[text]
  if not plan then
    plan = cjson.decode(text)
    plan.form = '>' .. string.rep('I8', #plan.limits + 1)
    plan.length = #plan.shape + 8 * (#plan.limits + 1)
    plan.answer_form = '>i8'
    for _, limit in ipairs(plan.limits) do
      plan.answer_form = plan.answer_form .. (limit.mark and 'i8' or '')
    end
    plans[text] = plan
  end
  return plan
end

-- The default bucket's level in a value. What the script did not write is as good as absent.
local function first_of(value)
  local level = whole(value, 0)
  if not level and value then
    local at = match(value, '^[^|]+|()')
    level = at and #value >= at + 7 and whole(struct.unpack('>I8', value, at), 0)
  end
  return level or now
end

-- The levels of a plan in the value of none, or of another: a bucket keeps what stands by its name. A quota
-- counts from nothing only where its period is new, and Redis old enough to have known of what was spent.
local function adopted(value, plan)
  local levels, known, stops = { first_of(value) }, {}, {}
  local shape, at = match(value or '', '^([^|]+)|()')
  for name, stop in gmatch(shape or '', '([%w_]+)%-?(%d*) ') do
    at = at + 8
    known[name] = #value >= at + 7 and struct.unpack('>I8', value, at) or nil
    stops[name] = tonumber(stop) or 0
  end
  for k, limit in ipairs(plan.limits) do
    local level, stop = known[limit.name], stops[limit.name]
    local is_over = stop and stop > 0 and stop <= now
    if stop == (limit.stop or 0) then
      levels[k + 1] = level or limit.stop and UNKNOWN or 0
    elseif limit.stop and (value and not is_over or beginning() > limit.begin) then
      levels[k + 1] = UNKNOWN
    else
      levels[k + 1] = 0
    end
  end
  return levels
end

local function written(levels)
  local plan = levels.plan
  return plan.shape .. struct.pack(plan.form, unpack(levels, 1, #plan.limits + 1))
end

-- The levels of a plan: of the default bucket, and of each limit.
local function levels_in(key, value, plan)
  local levels, shape = levels_of[key], plan.shape
  if levels and levels.plan.shape == shape then
    return levels
  end
  value = levels and written(levels) or full_at[key] and format('%.0f', full_at[key]) or value
  if value and #value == plan.length and sub(value, 1, #shape) == shape then
    return { struct.unpack(plan.form, value, #shape + 1) }
  end
  return adopted(value, plan)
end

-- Of the plan that is looked at, by limit: what it holds, and would after the take (false: it has no room);
-- and the answers. Of all items the same tables: new ones for each would cost as much as to look.
local held, after, told = {}, {}, {}

-- Look at the further limits of a plan. Returns whether those that may deny have room, and which have none;
-- 'unknown', if what is spent of a quota is; nil, if a number is beyond the arithmetic.
local function look(limits, levels, cost)
  local have_room, violated = true, ''
  for k = 1, #limits do
    local limit, level = limits[k], levels[k + 1]
    local mark, stop, top, debit = limit.mark, limit.stop, limit.capacity, cost
    if stop and stop <= now then
      return 'unknown' -- the caller's clock is behind
    end
    if mark then
      if stop then
        level = level < LIMIT and level or limit.spent
        if not level then
          return 'unknown'
        end
      else
        top, debit = top * limit.interval, cost * limit.interval
        level = min(max(level - now, 0), top)
      end
      local sum = level + debit
      if now + top >= LIMIT then -- a sum may be beyond it, inexact, and is above the top then
        return nil
      end
      held[k], after[k] = level, sum <= top and sum
      if sum > top then
        have_room = have_room and mark == '~'
        violated = violated .. ' ' .. mark .. limit.name
      end
    end
  end
  return have_room, violated
end

-- Answer what was looked at, and keep it. Returns the answer.
local function settle(key, plan, levels, full, is_spent, is_kept, answer)
  local limits, count, last = plan.limits, 1, full
  told[1] = answer
  for k = 1, #limits do
    local limit = limits[k]
    if limit.mark then
      local level = is_spent and after[k] or held[k]
      count = count + 1
      told[count] = after[k] and level or -1 - level
      if is_kept then
        levels[k + 1] = limit.stop and level or now + level
      end
    end
    last = max(last, limit.stop or levels[k + 1])
  end
  if is_kept then
    levels[1], levels.plan = full, plan
    levels_of[key], last_at[key] = levels, last
  end
  -- Not as a list: Redis takes longer over a nested one than over all that was decided.
  return struct.pack(plan.answer_form, unpack(told, 1, count))
end

local function decide(i)
  local key, at = KEYS[i + 2], 4 * i - 2
  local text, record = ARGV[at + 1], ARGV[at + 3]
  local capacity, interval, cost = whole(ARGV[at], 1), whole(text, 1), whole(ARGV[at + 2], 1)
  local plan = not interval and sub(text, 1, 1) == '{' and plan_of(text)
  if plan then
    interval = whole(plan.interval, 1)
  end
  if not (capacity and interval and cost) or now + capacity * interval >= LIMIT then
    return false
  end
  local refill = capacity * interval
  local levels = plan and levels_in(key, stored[i], plan) or levels_of[key]
  local known = levels and levels[1] or full_at[key] or first_of(stored[i])
  -- Neither a clock that jumped back nor a lowered burst locks out for longer than one refill: what
  -- lies beyond that is cut off, and stays so even if this item is denied.
  local full = min(max(known, now), now + refill)
  local spent = full + cost * interval
  local fits = spent <= now + refill
  local admitted, have_room, violated = fits, true, ''
  if plan then
    have_room, violated = look(plan.limits, levels, cost)
    if not violated then
      return have_room or false, false
    end
    admitted = fits and have_room
    violated = fits and violated or violated .. ' +default'
  end

  local is_kept = record ~= ''
  if is_kept then
    full = admitted and spent or full
    records[#records + 1] = record
    records[#records + 1] =
      format('%d %.0f%s', admitted and 200 or 429, floor((refill - (full - now)) / interval), violated)
  end
  local answer = fits and full - now or now - full - 1
  if plan then
    return settle(key, plan, levels, full, is_kept and admitted, is_kept, answer), admitted
  end
  if is_kept and (admitted or full < known) then
    full_at[key], levels_of[key], last_at[key] = full, nil, full
  end
  return answer
end

-- The limits that a take asks, whatever their numbers: of each its mark and name, and '-' of a quota.
local function names_in(interval)
  local names = ''
  if not whole(interval, 1) then
    for _, limit in ipairs(plan_of(interval).limits) do
      names = names .. (limit.mark and limit.mark .. limit.name .. (limit.stop and '-' or '') or '')
    end
  end
  return names
end

-- Decide item i with the idempotency key before it.
local function decide_once(i)
  local key, at = KEYS[i + 1], 4 * i - 6
  local names_now = names_in(ARGV[at + 5])
  local before = firsts[key] or stored[i - 1]
  if before then
    local asked, when, names, all = match(before, '^(%d+) (%d+) ([^|]*)|(.+)$')
    if asked ~= ARGV[at + 1] then
      answers[i], answers[i + 1] = -1, 0
      return
    end
    answers[i], answers[i + 1] = tonumber(when), names == names_now and all or sub(all, 1, 8)
    return
  end
  local answer, admitted = decide(i)
  answers[i], answers[i + 1] = 0, answer
  if admitted == nil then
    admitted = type(answer) == 'number' and answer >= 0
  end
  if admitted and ARGV[4 * i + 1] ~= '' then
    answer = type(answer) == 'number' and struct.pack('>i8', answer) or answer
    firsts[key] = format('%s %.0f %s|', ARGV[at + 1], now, names_now) .. answer
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

for key, last in pairs(last_at) do
  if last > now then
    local levels = levels_of[key]
    local value = levels and written(levels) or format('%.0f', full_at[key])
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
