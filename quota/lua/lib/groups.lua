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
--   rt true when its members tell the base before they release anything, because a recount runs
--   lk true while a look that was asked for still counts: whoever joins makes it void
--   fl true when only a look can tell the size, because a part that was in doubt may be in the object
--   cu uploads that its Completes name {upload: 1};  up the one whose Complete ended in doubt
-- HOLDS hash, field = hold id: {w worker, g subject, k kind, s bytes, so objects, up upload, t since, c access key,
--   p = 1 while nothing is held for it yet}, or {x = ms}, a tombstone.

local function load_group(subject)
  local raw = redis.call('HGET', KEYS_HASH, subject)
  return raw and cjson.decode(raw) or nil
end

local function save_group(subject, g) redis.call('HSET', KEYS_HASH, subject, cjson.encode(g)) end

-- subject_of(ws record, wsid, kind, hold, key, upload, part, version) -> subject, kind, base (nil: to be read)
local function subject_of(ws, id, kind, hold, key, upload, part, version)
  if kind == 'part' or kind == 'partcopy' then
    -- The records know what a part holds.
    return id .. '|p' .. upload .. ':' .. part, kind, tonumber(redis.call('HGET', UPLOADS, upload .. ':' .. part) or '0')
  end
  if ws.versioned then
    if kind == 'delete' and version ~= '' then return id .. '|v' .. key .. '\0' .. version, kind, nil end
    -- Nothing is replaced in a versioned bucket: each write is a group of its own over a base of nothing.
    if kind == 'delete' then kind = 'mark' elseif kind ~= 'complete' then kind = 'add' end
    return id .. '|a' .. hold .. ':' .. key, kind, 0
  end
  return id .. '|k' .. key, kind, nil
end

-- A recount that runs on this workspace must know every key that changes under it (rule 11).
-- USAGE w:WSID:rc = its id, with '*' behind it once the listing is done. DIRTY id|subject = "changes:bytes:objects" of
-- each key that changed during the listing; bytes is what the key holds in the books, -1 where that is not known.
-- What changes for the first time after the listing is summed in id|+b and id|+o. id|!subject = until when (ms) nothing
-- may join on a key.
local function recount_of(ws, subject)
  local running = redis.call('HGET', USAGE, 'w:' .. ws .. ':rc')
  if not running then return nil end
  local id, listed = string.match(running, '^([^*]*)(%*?)$')
  local marker = string.sub(subject, #ws + 2, #ws + 2)
  local key = subject
  if marker == 'a' then key = ws .. '|k' .. string.match(subject, '^[^|]*|a[^:]*:(.*)$')
  elseif marker == 'v' then key = ws .. '|k' .. string.match(subject, '^[^|]*|v(.*)%z[^%z]*$') end
  return id, listed == '*', marker, id .. '|' .. key
end

local function is_paused(now, ws, subject)
  local first = string.sub(subject, #ws + 2, #ws + 2)
  if first ~= 'a' and first ~= 'v' then return false end
  local id, _, _, field = recount_of(ws, subject)
  if not id then return false end
  return now < tonumber(redis.call('HGET', DIRTY, id .. '|!' .. string.sub(field, #id + 2)) or '0')
end

local function touch(ws, subject)
  -- Also how usage that was kept elsewhere is proven current.
  redis.call('HINCRBY', STATE, 'useq', 1)
  local id, listed, marker, field = recount_of(ws, subject)
  if not id then return false end
  local raw = redis.call('HGET', DIRTY, field)
  if not raw and listed and marker ~= 'p' and marker ~= 'u' then return true end
  local changes, bytes, objects = string.match(raw or '0:-1:0', '^(%d+):(%-?%d+):(%-?%d+)$')
  redis.call('HSET', DIRTY, field, text(changes + 1) .. ':' .. bytes .. ':' .. objects)
  return true
end

-- What a group's end has changed, for the recount that runs.
local function counted(ws, subject, g, bytes, objects)
  local id, _, marker, field = recount_of(ws, subject)
  if not id or marker == 'p' or marker == 'u' then return end
  local raw = redis.call('HGET', DIRTY, field)
  if not raw then
    redis.call('HINCRBY', DIRTY, id .. '|+b', text(bytes - g.b))
    redis.call('HINCRBY', DIRTY, id .. '|+o', text(objects - g.bo))
    return
  end
  local changes, before, before_objects = string.match(raw, '^(%d+):(%-?%d+):(%-?%d+)$')
  if marker ~= 'k' then
    if tonumber(before) < 0 then return end
    bytes, objects = before + bytes - g.b, before_objects + objects - g.bo
  end
  redis.call('HSET', DIRTY, field, changes .. ':' .. text(bytes) .. ':' .. text(objects))
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

-- How many Completes of an upload are under way or in doubt: until they end, an abort gives nothing back.
-- Answers whether one was answered meanwhile.
local function completing(upload, by)
  local raw = redis.call('HGET', UPLOADS, upload)
  if not raw then return false end
  local u = cjson.decode(raw)
  u.c = by == 0 and 0 or math.max(0, (u.c or 0) + by)
  redis.call('HSET', UPLOADS, upload, cjson.encode(u))
  return u.c == 0 and u.ab == 1
end

-- What a member must do about the base before it may release its final byte.
local function base_duty(g, hold)
  if g.b >= 0 then return 'known' end
  if g.b == -2 then return 'lost' end
  if not g.f then g.f = hold end
  return g.f == hold and (g.rt and 'tell' or 'read') or 'wait'
end

-- join(...) -> denial or nil, duty ('known' | 'read' | 'tell' | 'wait' | 'lost' | 'size' | 'wait-size'), warning, group
--   'tell': as 'read', and the base is told (`size`) before anything is released.
--   bytes < 0: not known yet (a copy, a complete): joined without a hold, `size` follows.
--   'size': the full size has no room; joined without a hold, `size` must follow with the base.
local function join(now, place, subject, hold, worker, akid, kind, bytes, objects, base, upload)
  if redis.call('HEXISTS', HOLDS, hold) == 1 then return {'no', 'Gone'} end
  if is_paused(now, place.ws, subject) then return {'no', 'Recounting', 'workspace', 'w:' .. place.ws} end
  local g = load_group(subject) or
    {p = place, b = base or -1, bo = 0, mx = 0, mo = 0, hb = 0, ho = 0, m = {}, n = 0, e = 0, q = 0}
  local is_new = g.n == 0 and g.q == 0
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
  g.m[hold], g.n, g.lk = 1, g.n + 1, nil
  if kind == 'complete' then
    g.cu = g.cu or {}
    g.cu[upload] = 1
    completing(upload, 1)
  end
  if touch(place.ws, subject) and is_new then g.rt = true end
  local duty = base_duty(g, hold)
  redis.call('HSET', HOLDS, hold, cjson.encode({w = worker, g = subject, k = kind, s = bytes, so = objects,
    up = upload ~= '' and upload or nil, t = now, c = akid, p = not held and 1 or nil}))
  save_group(subject, g)
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

-- A Complete of `upload` has left nothing behind.
local function complete_failed(place, upload)
  if completing(upload, -1) then forget_upload(place, upload) end
end

local function finish(subject, g, bytes, objects)
  hold_exactly(g, 0, 0)
  counted(g.p.ws, subject, g, bytes, objects)
  charge(g.p, 'b', bytes - g.b)
  charge(g.p, 'o', objects - g.bo)
  redis.call('HDEL', KEYS_HASH, subject)
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

-- settle(...) -> 'ok' | 'look' | 'doubt' | 'gone' | 'orphan'
--   outcome: done  the node holds `bytes` and `objects` by this mutation
--            none  the node holds nothing of it, for certain (rule 7)
--            doubt the node may or may not hold it
--            look  this member was told to look, and found `bytes` and `objects`; may be told so again
--   orphan: the part that was stored belongs to an upload that is gone; the node has to be told once more
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

  if outcome == 'doubt' then
    g.q, g.qt = g.q + 1, math.max(g.qt or 0, now + commit_ms)
    if h.up and h.k == 'complete' then g.up = h.up end
    if g.b == -1 and g.f == hold then g.b = -2 end
    leave(subject, g, hold)
    return 'doubt'
  end

  if outcome == 'none' and h.k == 'complete' then complete_failed(g.p, h.up) end
  local is_orphan = false
  if outcome == 'done' then
    is_orphan = (h.k == 'part' or h.k == 'partcopy') and redis.call('HEXISTS', UPLOADS, h.up) == 0
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

  local fine = is_orphan and 'orphan' or 'ok'
  if g.n > 1 then leave(subject, g, hold); return fine end
  if g.q > 0 then leave(subject, g, hold); return outcome == 'none' and 'ok' or 'doubt' end
  if g.b == -1 and g.e > 0 then g.b = -2 end
  if g.b == -2 then
    if g.e == 0 then g.b, g.bo, g.ls = 0, 0, nil; finish(subject, g, 0, 0); redis.call('HDEL', HOLDS, hold); return 'ok' end
    g.q, g.qt = 1, now
    leave(subject, g, hold)
    return 'doubt'
  end
  if outcome == 'look' and g.lk then
    finish(subject, g, bytes, objects)
  elseif g.e == 0 then
    hold_exactly(g, 0, 0)
    redis.call('HDEL', KEYS_HASH, subject)
  elseif g.e == 1 and not g.fl and outcome ~= 'look' then
    finish(subject, g, g.ls, g.lo)
  else
    g.lk = true
    save_group(subject, g)
    return 'look'
  end
  redis.call('HDEL', HOLDS, hold)
  return fine
end
