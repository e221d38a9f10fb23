-- Groups: the mutations of one key that are in flight together (protocol, rules 5 to 8).
--
-- KEYS hash, field = subject: "WSID|k" .. key (an object), "WSID|p" .. upload .. ":" .. part number,
-- "WSID|a" .. hold .. ":" .. key (an added version), "WSID|v" .. key .. "\0" .. version id (a version to be deleted).
-- A group, as JSON:
--   p  place {ws, owner, root}      b, bo  base bytes and objects; b = -1 not yet read, -2 lost
--   mx, mo  largest candidate       hb, ho what the group holds; nothing is given back before its last member ends
--   m  members {hold: 1}            n      how many of them are live
--   f  the member that reads the base; no other releases its final byte before the base is known
--   e  how many ended with success  ls, lo bytes and objects that the last of them left
--   q  how many ended in doubt      qt     when the node can no longer commit those (ms)
--   dd true while what it holds is charged as doubt (no live member left, some in doubt)
--   up upload whose Complete ended in doubt
-- HOLDS hash, field = hold id: {w worker, g subject, k kind, s bytes, so objects, up upload, t since, c access key,
--   p = 1 while nothing is held for it yet}, or {x = ms}, a tombstone.

local function load_group(subject)
  local raw = redis.call('HGET', KEYS_HASH, subject)
  return raw and cjson.decode(raw) or nil
end

local function save_group(subject, g) redis.call('HSET', KEYS_HASH, subject, cjson.encode(g)) end

-- A recount that runs on this workspace must know every key that changes under it (rule 11).
local function touch(ws, subject)
  local recount = redis.call('HGET', USAGE, 'w:' .. ws .. ':rc')
  if recount then redis.call('HINCRBY', DIRTY, recount .. '|' .. subject, 1) end
end

local function hold_exactly(g, bytes, objects)
  charge(g.p, g.dd and 'db' or 'hb', bytes - g.hb)
  charge(g.p, g.dd and 'do' or 'ho', objects - g.ho)
  g.hb, g.ho = bytes, objects
end

local function in_doubt(g, yes)
  if (g.dd or false) == yes then return end
  local bytes, objects = g.hb, g.ho
  hold_exactly(g, 0, 0)
  g.dd = yes
  hold_exactly(g, bytes, objects)
end

-- Reserves room for one more candidate: max(candidates) - base, the full size while the base is unknown.
local function reserve(now, g, bytes, objects)
  local mx, mo = math.max(g.mx, bytes), math.max(g.mo, objects)
  local hb, ho = mx, mo
  if g.b >= 0 then hb, ho = math.max(0, mx - g.b), math.max(0, mo - g.bo) end
  local denial, warning = room(now, g.p, hb - g.hb, ho - g.ho)
  if denial then return denial, '' end
  g.mx, g.mo = mx, mo
  hold_exactly(g, hb, ho)
  return nil, warning
end

-- What a member must do about the base before it may release its final byte.
local function base_duty(g, hold)
  if g.b >= 0 then return 'known' end
  if g.b == -2 then return 'lost' end
  if not g.f then g.f = hold end
  return g.f == hold and 'read' or 'wait'
end

-- join(...) -> denial or nil, duty ('known' | 'read' | 'wait' | 'lost' | 'size'), warning, group
--   bytes < 0: not known yet (a copy, a complete): joined without a hold, `size` follows.
--   'size': the full size has no room; joined without a hold, `size` must follow with the base.
local function join(now, place, subject, hold, worker, akid, kind, bytes, objects, base, upload)
  if redis.call('HEXISTS', HOLDS, hold) == 1 then return {'no', 'Gone'} end
  local g = load_group(subject) or
    {p = place, b = base or -1, bo = 0, mx = 0, mo = 0, hb = 0, ho = 0, m = {}, n = 0, e = 0, q = 0}
  local warning, held = '', bytes >= 0
  if g.dd then in_doubt(g, false) end
  if held then
    local denial
    denial, warning = reserve(now, g, bytes, objects)
    if denial then
      if denial[2] ~= 'QuotaExceeded' or g.b >= 0 then
        if g.n == 0 and g.q > 0 then in_doubt(g, true) end
        return denial
      end
      held = false
    end
  end
  g.m[hold], g.n = 1, g.n + 1
  local duty = base_duty(g, hold)
  redis.call('HSET', HOLDS, hold, cjson.encode({w = worker, g = subject, k = kind, s = bytes, so = objects,
    up = upload ~= '' and upload or nil, t = now, c = akid, p = not held and 1 or nil}))
  save_group(subject, g)
  touch(place.ws, subject)
  if not held and bytes >= 0 then return nil, duty == 'wait' and 'wait-size' or 'size', '', g end
  return nil, duty, warning, g
end

local function forget_upload(place, upload)
  local raw = redis.call('HGET', UPLOADS, upload)
  if not raw then return 0 end
  local u = cjson.decode(raw)
  local fields = {upload}
  for n = 1, u.n do
    fields[#fields + 1] = upload .. ':' .. n
    if #fields == 500 then redis.call('HDEL', UPLOADS, unpack(fields)); fields = {} end
  end
  if #fields > 0 then redis.call('HDEL', UPLOADS, unpack(fields)) end
  charge(place, 'b', -u.mb)
  charge(place, 'mb', -u.mb)
  redis.call('XADD', JOURNAL, 'MAXLEN', '~', '100000', '*', 'event', 'end', 'upload', upload, 'workspace', place.ws)
  touch(place.ws, place.ws .. '|u' .. upload)
  return u.mb
end

local function finish(subject, g, bytes, objects)
  hold_exactly(g, 0, 0)
  charge(g.p, 'b', bytes - g.b)
  charge(g.p, 'o', objects - g.bo)
  redis.call('HDEL', KEYS_HASH, subject)
  redis.call('HINCRBY', STATE, 'useq', 1)
  local upload, part = string.match(subject, '^[^|]*|p([^:]+):(%d+)$')
  if upload then
    local raw = redis.call('HGET', UPLOADS, upload)
    if raw then
      local u = cjson.decode(raw)
      u.mb, u.n = u.mb + bytes - g.b, math.max(u.n, tonumber(part))
      redis.call('HSET', UPLOADS, upload, cjson.encode(u))
      if bytes > 0 or g.ls then redis.call('HSET', UPLOADS, upload .. ':' .. part, text(bytes)) end
      charge(g.p, 'mb', bytes - g.b)
    else
      charge(g.p, 'b', g.b - bytes)
    end
  end
end

local function leave(subject, g, hold)
  redis.call('HDEL', HOLDS, hold)
  g.m[hold], g.n = nil, g.n - 1
  if g.f == hold then g.f = nil end
  if g.n == 0 and g.q > 0 then in_doubt(g, true) end
  save_group(subject, g)
end

-- settle(...) -> 'ok' | 'look' | 'doubt' | 'gone'
--   outcome: done  the node holds `bytes` and `objects` by this mutation
--            none  the node holds nothing of it, for certain (rule 7)
--            doubt the node may or may not hold it
--            look  this member was told to look, and found `bytes` and `objects`
--   base, base_objects: what this member read before it released anything, -1 when it read nothing
local function settle(now, hold, outcome, base, base_objects, bytes, objects, commit_ms)
  local raw = redis.call('HGET', HOLDS, hold)
  local h = raw and cjson.decode(raw)
  if not h or h.x then
    if not h then redis.call('HSET', HOLDS, hold, cjson.encode({x = now})) end
    return 'gone'
  end
  local subject = h.g
  local g = load_group(subject)
  if not g then redis.call('HDEL', HOLDS, hold); return 'gone' end
  touch(g.p.ws, subject)
  if base >= 0 and g.b == -1 and g.f == hold then g.b, g.bo = base, base_objects end

  if h.k == 'add' or h.k == 'mark' then
    -- A versioned bucket only adds: what was current becomes an old version of the same total.
    if outcome == 'done' and base > 0 then charge(g.p, 'vb', base) end
    if outcome == 'done' and base_objects > 0 then charge(g.p, 'vo', 1) end
  end

  if outcome == 'doubt' then
    g.q, g.qt = g.q + 1, math.max(g.qt or 0, now + commit_ms)
    if h.up and h.k == 'complete' then g.up = h.up end
    if g.b == -1 and g.f == hold then g.b = -2 end
    leave(subject, g, hold)
    return 'doubt'
  end

  if outcome == 'done' then
    g.e, g.ls, g.lo = g.e + 1, bytes, objects
    if h.k == 'complete' then
      local freed = forget_upload(g.p, h.up)
      -- The parts became the object: what they were charged moves into the group, which needs no more than that.
      if freed > 0 or bytes > g.mx then
        g.mx, g.mo = math.max(g.mx, bytes), math.max(g.mo, objects)
        local floor = g.b >= 0 and g.b or 0
        hold_exactly(g, math.max(g.hb, g.mx - floor), math.max(g.ho, g.mo - (g.b >= 0 and g.bo or 0)))
      end
    end
  end

  if g.n > 1 then leave(subject, g, hold); return 'ok' end
  if g.q > 0 then leave(subject, g, hold); return outcome == 'none' and 'ok' or 'doubt' end
  if g.b == -1 and g.e > 0 then g.b = -2 end
  if g.b == -2 then
    if g.e == 0 then g.b, g.bo, g.ls = 0, 0, nil; finish(subject, g, 0, 0); redis.call('HDEL', HOLDS, hold); return 'ok' end
    g.q, g.qt = 1, now
    leave(subject, g, hold)
    return 'doubt'
  end
  if outcome == 'look' then
    finish(subject, g, bytes, objects)
  elseif g.e == 0 then
    hold_exactly(g, 0, 0)
    redis.call('HDEL', KEYS_HASH, subject)
  elseif g.e == 1 then
    finish(subject, g, g.ls, g.lo)
  else
    save_group(subject, g)
    return 'look'
  end
  redis.call('HDEL', HOLDS, hold)
  return 'ok'
end
