-- size EPOCH HOLD BASE BASE_OBJECTS BYTES OBJECTS PARTS
-- keys: STATE LIMITS USAGE HOLDS KEYS_HASH UPLOADS DIRTY JOURNAL
-- uses: state room groups
--
-- Tells what a member has learned since it was admitted: the base (-1: not read), its candidate size (-1: as it was).
-- PARTS: the part numbers that a Complete names, "1,2,5", whose recorded sizes make its size; '' otherwise.
-- Answers {'ok', bytes}    the hold stands and the base is known: the final byte may be released
--         {'read'}         this member is to read the base and tell it
--         {'wait'}         another member reads the base: ask again
--         {'no', code, …}  no room, a part that is not there (InvalidPart, number), or Gone; the member is released

local now = enter(ARGV[1])
if not now then return {'no', 'NotReady'} end
local hold = ARGV[2]
local raw = redis.call('HGET', HOLDS, hold)
local h = raw and cjson.decode(raw)
if not h or h.x then return {'no', 'Gone'} end
local g = load_group(h.g)
if not g then return {'no', 'Gone'} end
local base, bytes, objects = tonumber(ARGV[3]), tonumber(ARGV[5]), tonumber(ARGV[6])

if base >= 0 and g.b == -1 and g.f == hold then
  g.b, g.bo = base, tonumber(ARGV[4])
  hold_exactly(g, math.max(0, g.mx - g.b), math.max(0, g.mo - g.bo))
end

if ARGV[7] ~= '' then
  bytes = 0
  for number in string.gmatch(ARGV[7], '%d+') do
    local part = redis.call('HGET', UPLOADS, h.up .. ':' .. number)
    -- A part whose upload was cut, and then tried again, is in doubt until somebody looks: so is the object's size.
    local doubtful = load_group(g.p.ws .. '|p' .. h.up .. ':' .. number)
    if doubtful then
      g.fl = true
      part = math.max(tonumber(part or '0'), doubtful.mx)
    end
    if not part then
      save_group(h.g, g)
      settle(now, hold, 'none', -1, 0, 0, 0, 0)
      return {'no', 'InvalidPart', number}
    end
    bytes = bytes + tonumber(part)
  end
end

if bytes >= 0 then
  h.s, h.so, h.p = bytes, objects, 1
  redis.call('HSET', HOLDS, hold, cjson.encode(h))
end
local duty = base_duty(g, hold)
if h.p and h.s >= 0 then
  -- The parts of a Complete are charged already; only the object that it may add needs room.
  local denial = reserve(now, g, h.k == 'complete' and 0 or h.s, h.so)
  if denial and (g.b >= 0 or denial[2] ~= 'QuotaExceeded') then
    save_group(h.g, g)
    settle(now, hold, 'none', -1, 0, 0, 0, 0)
    return denial
  end
  if not denial then
    h.p = nil
    redis.call('HSET', HOLDS, hold, cjson.encode(h))
  end
end
save_group(h.g, g)
if duty == 'known' or (duty == 'lost' and not h.p) then return {'ok', text(h.s)} end
if duty == 'lost' then
  settle(now, hold, 'none', -1, 0, 0, 0, 0)
  return {'no', 'Recounting', 'workspace', 'w:' .. g.p.ws}
end
return {duty == 'tell' and 'read' or duty}
