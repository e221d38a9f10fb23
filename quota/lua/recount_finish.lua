-- recount_finish EPOCH WSID RECOUNT BYTES OBJECTS VERSION_BYTES VERSION_OBJECTS LEFT_OUT UPLOADS RESOLVED
-- keys: STATE LIMITS USAGE HOLDS KEYS_HASH UPLOADS DIRTY JOURNAL WORKSPACES
-- uses: state room groups
--
-- Sets the usage of a workspace to what was counted, exact among writes that go on (rule 11).
-- BYTES, OBJECTS  listed, less the keys left out, plus a look at each of those that has no group
-- LEFT_OUT        JSON {subject: times changed} of the keys left out; a key that changed since refuses
-- UPLOADS         JSON {upload: {part number: bytes}} as the node lists them
-- RESOLVED        JSON {subject: [bytes, objects]} of doubtful groups by a look, once the node can commit no more
-- Answers {'ok', drift bytes, drift objects}, {'again', why} or {'no', code}.

local now = enter(ARGV[1])
if not now then return {'no', 'NotReady'} end
local id, recount = ARGV[2], ARGV[3]
local ws = record(WORKSPACES, id)
if not ws then return {'no', 'NoSuchBucket'} end
local unit = 'w:' .. id
if redis.call('HGET', USAGE, unit .. ':rc') ~= recount then return {'no', 'Gone'} end
local left_out, uploads, resolved = cjson.decode(ARGV[8]), cjson.decode(ARGV[9]), cjson.decode(ARGV[10])
local place = {ws = id, owner = ws.owner, root = ws.root}

local names, prefix = {}, recount .. '|'
local dirty = redis.call('HGETALL', DIRTY)
for i = 1, #dirty, 2 do
  if string.sub(dirty[i], 1, #prefix) == prefix then
    local subject = string.sub(dirty[i], #prefix + 1)
    names[#names + 1] = dirty[i]
    local marker = string.sub(subject, #id + 2, #id + 2)
    if marker ~= 'p' and marker ~= 'u' and tostring(left_out[subject]) ~= dirty[i + 1] then
      return {'again', 'changed'}
    end
  end
end

local bytes, objects = tonumber(ARGV[4]), tonumber(ARGV[5])

local groups = redis.call('HGETALL', KEYS_HASH)
local busy_parts = {}
for i = 1, #groups, 2 do
  local subject = groups[i]
  if string.sub(subject, 1, #id + 1) == id .. '|' then
    local g = cjson.decode(groups[i + 1])
    local marker = string.sub(subject, #id + 2, #id + 2)
    if marker == 'p' then busy_parts[string.match(subject, '^[^|]*|p([^:]+):')] = true
    elseif marker ~= 'k' then return {'again', 'versions'}
    elseif left_out[subject] == nil then return {'again', 'joined'}
    elseif g.n == 0 and resolved[subject] then
      if now < g.qt then return {'again', 'doubt'} end
      hold_exactly(g, 0, 0)
      if g.up and not uploads[g.up] then forget_upload(g.p, g.up) end
      redis.call('HDEL', KEYS_HASH, subject)
      bytes, objects = bytes + resolved[subject][1], objects + resolved[subject][2]
    elseif g.b < 0 then return {'again', 'base'}
    else bytes, objects = bytes + g.b, objects + g.bo end
  end
end

local waiting = 0
local all = redis.call('HGETALL', UPLOADS)
for i = 1, #all, 2 do
  local upload = all[i]
  if not string.find(upload, ':', 1, true) then
    local u = cjson.decode(all[i + 1])
    if u.ws == id then
      local counted = uploads[upload]
      if counted and not busy_parts[upload] and not redis.call('HGET', DIRTY, prefix .. id .. '|u' .. upload) then
        local sum, top, changed = 0, 0, false
        for n = 1, 10000 do
          local part = counted[text(n)]
          if part then sum, top = sum + part, n end
          if not part and n > u.n then break end
        end
        for _, name in ipairs(names) do
          if string.find(name, id .. '|p' .. upload .. ':', 1, true) then changed = true end
        end
        if not changed then
          for n = 1, math.max(top, u.n) do
            local part = counted[text(n)]
            if part then redis.call('HSET', UPLOADS, upload .. ':' .. n, text(part))
            elseif n <= u.n then redis.call('HDEL', UPLOADS, upload .. ':' .. n) end
          end
          u.mb, u.n = sum, math.max(top, u.n)
          redis.call('HSET', UPLOADS, upload, cjson.encode(u))
        end
      end
      waiting = waiting + u.mb
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
redis.call('HDEL', USAGE, unit .. ':rc')
redis.call('HINCRBY', STATE, 'useq', 1)
if #names > 0 then
  for i = 1, #names, 500 do redis.call('HDEL', DIRTY, unpack(names, i, math.min(i + 499, #names))) end
end
return {'ok', text(drift_bytes), text(drift_objects)}
