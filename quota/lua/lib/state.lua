-- enter(epoch) -> now (ms), revocation number, phase; nil when the state is not the caller's epoch (protocol, rule 3).
-- The clock never runs backwards: max(TIME, last seen).
local function enter(epoch)
  local s = redis.call('HMGET', STATE, 'epoch', 'rev', 'phase', 'clock')
  if not s[1] or s[1] ~= epoch then return nil end
  local t = redis.call('TIME')
  local now = t[1] * 1000 + math.floor(t[2] / 1000)
  local seen = tonumber(s[4] or '0')
  if seen > now then now = seen end
  return now, s[2] or '0', s[3]
end

local function record(key, id)
  local raw = redis.call('HGET', key, id)
  if not raw then return nil end
  local value = cjson.decode(raw)
  if value.x then return nil end
  return value
end

-- A JSON null decodes to a userdata that is true in a condition; this makes it nil.
local function given(value)
  if value == cjson.null then return nil end
  return value
end

local function text(n) return string.format('%.0f', n) end
