-- Usage and limits at the four levels: workspace, user, user on this root, root total.
-- A place is {ws=, owner=, root=}: what a change of usage is charged to, fixed when its group is made.
--
-- Usage measures: b, o = used bytes and objects (parts and old versions included); hb, ho = held; db, do = in doubt;
-- mb = of b, parts that wait; vb, vo = of b and o, old versions; rp = workspaces below that await a recount;
-- gs = since when the soft limit is passed (ms).

local function levels(place)
  local ur = place.owner .. ':' .. place.root
  return {
    {name = 'workspace', usage = 'w:' .. place.ws, limits = {'w:' .. place.ws, 'w:@' .. place.owner, 'w:*'}},
    {name = 'user', usage = 'u:' .. place.owner, limits = {'u:' .. place.owner, 'u:*'}},
    {name = 'user-root', usage = 'ur:' .. ur, limits = {'ur:' .. ur, 'ur:*:' .. place.root, 'ur:*:*'}},
    {name = 'root', usage = 'r:' .. place.root, limits = {'r:' .. place.root, 'r:*'}},
  }
end

local function charge(place, measure, delta)
  if delta == 0 then return end
  local by = text(delta)
  redis.call('HINCRBY', USAGE, 'w:' .. place.ws .. ':' .. measure, by)
  redis.call('HINCRBY', USAGE, 'u:' .. place.owner .. ':' .. measure, by)
  redis.call('HINCRBY', USAGE, 'ur:' .. place.owner .. ':' .. place.root .. ':' .. measure, by)
  redis.call('HINCRBY', USAGE, 'r:' .. place.root .. ':' .. measure, by)
end

-- The limit in force at each level (the first that is set: own, then defaults), nil where there is none.
local function limits_of(all)
  local fields = {}
  for _, level in ipairs(all) do
    for _, id in ipairs(level.limits) do fields[#fields + 1] = id end
  end
  local raws, at, found = redis.call('HMGET', LIMITS, unpack(fields)), 0, false
  for _, level in ipairs(all) do
    for _ = 1, #level.limits do
      at = at + 1
      if raws[at] and not level.limit then
        local limit = cjson.decode(raws[at])
        if not limit.x then level.limit, found = limit, true end
      end
    end
  end
  return found
end

local function effective(limit, now)
  local bytes, objects, raised = given(limit.bytes), given(limit.objects), given(limit.raised)
  if raised and raised.until_ms > now then
    bytes, objects = given(raised.bytes) or bytes, given(raised.objects) or objects
  end
  return bytes, objects
end

-- room(now, place, bytes, objects) -> denial or nil, warning
--   bytes, objects: what would be held on top of all that is charged; a change that adds nothing always has room.
--   warning: names the levels whose soft limit is passed, or ''.
local function room(now, place, bytes, objects)
  if bytes <= 0 and objects <= 0 then return nil, '' end
  local all, warning = levels(place), ''
  if not limits_of(all) then return nil, '' end
  for _, level in ipairs(all) do
    local limit = level.limit
    if limit then
      local u = level.usage
      local v = redis.call('HMGET', USAGE, u .. ':b', u .. ':hb', u .. ':db', u .. ':o', u .. ':ho', u .. ':do', u .. ':rp', u .. ':gs')
      for i = 1, 8 do v[i] = tonumber(v[i] or '0') end
      local charged, counted = v[1] + v[2] + v[3], v[4] + v[5] + v[6]
      local max_bytes, max_objects = effective(limit, now)
      if (max_bytes or max_objects) and v[7] > 0 then return {'no', 'Recounting', level.name, u}, '' end
      if max_bytes and bytes > 0 and bytes > max_bytes - charged then
        return {'no', 'QuotaExceeded', level.name, u, 'bytes', text(max_bytes), text(charged), text(bytes)}, ''
      end
      if max_objects and objects > 0 and objects > max_objects - counted then
        return {'no', 'QuotaExceeded', level.name, u, 'objects', text(max_objects), text(counted), text(objects)}, ''
      end
      local soft_bytes, soft_objects = given(limit.soft_bytes), given(limit.soft_objects)
      if soft_bytes or soft_objects then
        local over_before = (soft_bytes and charged > soft_bytes) or (soft_objects and counted > soft_objects)
        local over = (soft_bytes and charged + bytes > soft_bytes) or (soft_objects and counted + objects > soft_objects)
        local since = over_before and v[8] or 0
        if over and since == 0 then
          since = now
          redis.call('HSET', USAGE, u .. ':gs', text(now))
        elseif not over and v[8] ~= 0 then
          redis.call('HDEL', USAGE, u .. ':gs')
        end
        local grace = given(limit.grace_ms)
        if over and grace and now >= since + grace then
          local soft, used, asked, measure = soft_bytes, charged, bytes, 'bytes'
          if not (soft_bytes and charged + bytes > soft_bytes) then
            soft, used, asked, measure = soft_objects, counted, objects, 'objects'
          end
          return {'no', 'QuotaExceeded', level.name, u, measure, text(soft), text(used), text(asked), 'grace'}, ''
        end
        if over then warning = warning .. (warning == '' and '' or ' ') .. level.name end
      end
    end
  end
  return nil, warning
end
