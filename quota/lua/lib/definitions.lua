-- define(change, check_parents): sets a definition record when it is newer than what is there (rule 1).
-- change: {k kind, i id, v version, d the record as JSON text, or null when it is deleted}. The text is stored as it
-- came: numbers of more than 14 digits would not survive being encoded again.
-- Deletions leave tombstones, so that an older change that comes late does not bring back what is gone.
local TABLES = {user = USERS, workspace = WORKSPACES, grant = GRANTS, credential = CREDENTIALS, node = NODES, limit = LIMITS}

local MOVED = {'b', 'o', 'hb', 'ho', 'db', 'do', 'mb', 'vb', 'vo', 'rp'}

-- What a workspace uses goes with it: to its next owner, or away with its deletion.
local function move_usage(id, from, to)
  local fields = {}
  for i, measure in ipairs(MOVED) do fields[i] = 'w:' .. id .. ':' .. measure end
  local used = redis.call('HMGET', USAGE, unpack(fields))
  for i, measure in ipairs(MOVED) do
    local n = tonumber(used[i] or '0')
    if n ~= 0 then
      charge({ws = id, owner = from.owner, root = from.root}, measure, -n)
      if to then charge({ws = id, owner = to.owner, root = to.root}, measure, n) end
    end
  end
  if not to then redis.call('HDEL', USAGE, 'w:' .. id .. ':rc', 'w:' .. id .. ':rt', 'w:' .. id .. ':gs', unpack(fields)) end
end

-- What is under way is charged where the workspace is now; with a deleted one it is forgotten.
local function move_groups(id, to)
  local all = redis.call('HGETALL', KEYS_HASH)
  for i = 1, #all, 2 do
    if string.sub(all[i], 1, #id + 1) == id .. '|' then
      if to then
        local g = cjson.decode(all[i + 1])
        g.p.owner, g.p.root = to.owner, to.root
        redis.call('HSET', KEYS_HASH, all[i], cjson.encode(g))
      else
        redis.call('HDEL', KEYS_HASH, all[i])
      end
    end
  end
end

local function define_workspace(id, old, value)
  if old then
    for _, name in ipairs(old.names) do
      if redis.call('HGET', NAMES, name) == id then redis.call('HDEL', NAMES, name) end
    end
    redis.call('ZREM', INDEX, 'o:' .. old.owner .. ':' .. id)
    if not value or value.owner ~= old.owner or value.root ~= old.root then
      move_usage(id, old, value)
      move_groups(id, value)
    end
  end
  if value then
    for _, name in ipairs(value.names) do redis.call('HSET', NAMES, name, id) end
    redis.call('ZADD', INDEX, 0, 'o:' .. value.owner .. ':' .. id)
  end
end

local function define_grant(id, value)
  local at = string.find(id, '|', 1, true)
  local member = 's:' .. string.sub(id, at + 1) .. ':' .. string.sub(id, 1, at - 1)
  if value then redis.call('ZADD', INDEX, 0, member) else redis.call('ZREM', INDEX, member) end
end

-- A child of what is gone is never live (rule 2).
local function orphan(value)
  for _, parent in ipairs(given(value.parents) or {}) do
    local live = record(CREDENTIALS, parent)
    if not live or not live.enabled then return true end
  end
  return false
end

local function define(change, check_parents)
  local hash = TABLES[change.k]
  local raw = redis.call('HGET', hash, change.i)
  local old = raw and cjson.decode(raw) or nil
  if old and old.v >= change.v then return end
  if old and old.x then old = nil end
  local json = given(change.d)
  local value = json and cjson.decode(json) or nil
  if change.k == 'credential' and value and check_parents and orphan(value) then json, value = nil, nil end
  if change.k == 'workspace' then define_workspace(change.i, old, value)
  elseif change.k == 'grant' then define_grant(change.i, value) end
  redis.call('HSET', hash, change.i, json or cjson.encode({x = 1, v = change.v}))
end
