-- recount_finish EPOCH WSID RECOUNT BYTES OBJECTS VERSION_BYTES VERSION_OBJECTS LISTED LOOKED UPLOADS
-- keys: STATE LIMITS USAGE HOLDS KEYS_HASH UPLOADS DIRTY JOURNAL WORKSPACES
-- uses: state room groups
--
-- Sets the usage of a workspace to what was counted, exact among writes that go on (rule 11).
-- BYTES, OBJECTS  the sum of the listing, but for the keys that `recount_listed` told (all versions count)
-- LISTED          JSON {subject: [bytes, objects]} of those keys in the listing; absent ones held nothing
-- LOOKED          JSON {subject: [bytes, objects, changes]}: a look at such a key after that many changes
-- UPLOADS         JSON {upload: {part number: bytes} | "gone"} as the node lists them, asked since RECOUNT began
-- Answers {'ok', drift bytes, drift objects}, {'again', why} or {'no', code}. 'again': what LOOKED could settle is
-- settled for good; the rest is under way or in doubt, and is to be looked at once more.

local now = enter(ARGV[1])
if not now then return {'no', 'NotReady'} end
local id, recount = ARGV[2], ARGV[3]
local ws = record(WORKSPACES, id)
if not ws then return {'no', 'NoSuchBucket'} end
local unit = 'w:' .. id
if redis.call('HGET', USAGE, unit .. ':rc') ~= recount .. '*' then return {'no', 'Gone'} end
local listed, looked, uploads = cjson.decode(ARGV[8]), cjson.decode(ARGV[9]), cjson.decode(ARGV[10])
local place = {ws = id, owner = ws.owner, root = ws.root}

-- The groups of each key; several only where versions are kept.
local groups, completing_now, busy_parts, all = {}, {}, {}, redis.call('HGETALL', KEYS_HASH)
for i = 1, #all, 2 do
  local subject = all[i]
  if string.sub(subject, 1, #id + 1) == id .. '|' then
    local g = cjson.decode(all[i + 1])
    if string.sub(subject, #id + 2, #id + 2) == 'p' then busy_parts[subject] = true
    else
      local _, _, marker, field = recount_of(id, subject)
      local key = string.sub(field, #recount + 2)
      groups[key] = groups[key] or {}
      table.insert(groups[key], {subject = subject, g = g, marker = marker})
      for upload in pairs(g.cu or {}) do completing_now[upload] = true end
    end
  end
end

-- A look counts when nothing is under way on the key, nothing has changed since, and the node can commit no more.
local function accept(key, look, changes)
  if tonumber(changes) ~= look[3] then return false end
  for _, one in ipairs(groups[key] or {}) do
    if one.g.n > 0 or now < (one.g.qt or 0) then return false end
  end
  for _, one in ipairs(groups[key] or {}) do
    hold_exactly(one.g, 0, 0)
    redis.call('HDEL', KEYS_HASH, one.subject)
    for upload in pairs(one.g.cu or {}) do
      completing_now[upload] = nil
      completing(upload, 0)
    end
  end
  groups[key] = nil
  return true
end

local bytes, objects, why, names = tonumber(ARGV[4]), tonumber(ARGV[5]), nil, {}
local prefix, dirty_parts = recount .. '|', {}
local dirty = redis.call('HGETALL', DIRTY)
for i = 1, #dirty, 2 do
  if string.sub(dirty[i], 1, #prefix) == prefix then
    local subject = string.sub(dirty[i], #prefix + 1)
    names[#names + 1] = dirty[i]
    local marker = string.sub(subject, #id + 2, #id + 2)
    if subject == '+b' then bytes = bytes + tonumber(dirty[i + 1])
    elseif subject == '+o' then objects = objects + tonumber(dirty[i + 1])
    elseif marker ~= 'k' then dirty_parts[subject] = true -- a pause among them, which nothing below asks for
    else
      local changes, known, known_objects = string.match(dirty[i + 1], '^(%d+):(%-?%d+):(%-?%d+)$')
      known, known_objects = tonumber(known), tonumber(known_objects)
      local look = looked[subject]
      if look and accept(subject, look, changes) then
        known, known_objects = look[1], look[2]
        redis.call('HSET', DIRTY, dirty[i], changes .. ':' .. text(known) .. ':' .. text(known_objects))
      end
      local first = (groups[subject] or {})[1]
      if ws.versioned then
        -- Once a key is known its changes are added to that; what is under way is held beside it.
        if known < 0 then why = why or 'versions' end
      elseif first and first.g.b >= 0 then known, known_objects = first.g.b, first.g.bo
      elseif first and (first.g.b == -2 or not first.g.rt) then why = why or (first.g.n > 0 and 'base' or 'doubt')
      elseif known < 0 then
        -- Nothing was released on it since the recount began.
        known, known_objects = unpack(listed[subject] or {0, 0})
      end
      bytes, objects = bytes + known, objects + known_objects
    end
  end
end
if why then return {'again', why} end
redis.call('HDEL', USAGE, unit .. ':rc')

local function recount_parts(upload, u, counted_parts)
  local top, sum = u.n, 0
  for number in pairs(counted_parts) do top = math.max(top, tonumber(number)) end
  for n = 1, top do
    local part, field = id .. '|p' .. upload .. ':' .. n, upload .. ':' .. n
    if not busy_parts[part] and not dirty_parts[part] then
      local size = counted_parts[text(n)]
      if size then redis.call('HSET', UPLOADS, field, text(size)) else redis.call('HDEL', UPLOADS, field) end
    end
    sum = sum + tonumber(redis.call('HGET', UPLOADS, field) or '0')
  end
  u.mb, u.n = sum, top
  redis.call('HSET', UPLOADS, upload, cjson.encode(u))
end

local waiting = 0
local records = redis.call('HGETALL', UPLOADS)
for i = 1, #records, 2 do
  local upload = records[i]
  if not string.find(upload, ':', 1, true) then
    local u = cjson.decode(records[i + 1])
    if u.ws == id then
      u = cjson.decode(redis.call('HGET', UPLOADS, upload))
      local found = uploads[upload]
      if found == 'gone' and not completing_now[upload] then forget_upload(place, upload)
      else
        if type(found) == 'table' then recount_parts(upload, u, found) end
        waiting = waiting + u.mb
      end
    end
  end
end

local v = redis.call('HMGET', USAGE, unit .. ':b', unit .. ':o', unit .. ':mb', unit .. ':vb', unit .. ':vo', unit .. ':rp')
for i = 1, 6 do v[i] = tonumber(v[i] or '0') end
local drift_bytes, drift_objects = bytes + waiting - v[1], objects - v[2]
charge(place, 'b', drift_bytes)
charge(place, 'o', drift_objects)
charge(place, 'mb', waiting - v[3])
charge(place, 'vb', tonumber(ARGV[6]) - v[4])
charge(place, 'vo', tonumber(ARGV[7]) - v[5])
charge(place, 'rp', -v[6])
redis.call('HSET', USAGE, unit .. ':rt', text(now))
redis.call('HINCRBY', STATE, 'useq', 1)
for i = 1, #names, 500 do redis.call('HDEL', DIRTY, unpack(names, i, math.min(i + 499, #names))) end
return {'ok', text(drift_bytes), text(drift_objects)}
