-- The one decision of who may do what; admit carries it out and why explains it.
--
-- decide(now, credential, bucket, need) -> decision, denial
--   decision: table with what was found so far: credential, user, uid, ws, id (workspace), have (permission by
--             shares), cap (after the credential's scope), grant, via (principal of the grant, 'owner' or 'public')
--   denial:   nil, or {'no', code, …} as `quota/answers.py` reads it

-- A credential's own life: unknown, revoked and disabled look alike; a session that ran out says so.
local function live_credential(now, akid)
  local credential = record(CREDENTIALS, akid)
  if not credential or not credential.enabled then return nil, {'no', 'InvalidAccessKeyId'} end
  local expires = given(credential.expires)
  if expires and expires <= now then
    return nil, {'no', credential.kind == 'session' and 'ExpiredToken' or 'InvalidAccessKeyId'}
  end
  return credential
end

local function best_grant(now, id, uid, groups, need)
  local principals = {'u:' .. uid}
  for _, group in ipairs(groups) do principals[#principals + 1] = 'g:' .. group end
  principals[#principals + 1] = '*'
  local raws = {}
  -- In pieces: what `unpack` can put on Lua's stack ends at 8,000 or so, and some are in many groups.
  for from = 1, #principals, 1000 do
    local fields = {}
    for i = from, math.min(from + 999, #principals) do fields[#fields + 1] = id .. '|' .. principals[i] end
    for _, raw in ipairs(redis.call('HMGET', GRANTS, unpack(fields))) do raws[#raws + 1] = raw end
  end
  local best, via, best_end
  for i, raw in ipairs(raws) do
    if raw then
      local grant = cjson.decode(raw)
      local ends = given(grant.expires) or math.huge
      if not grant.x and ends > now then
        -- Of several that suffice, the one that lasts longest: a transfer hangs on it.
        local better = not best
        if best then
          local enough, had = grant.permission >= need, best.permission >= need
          if enough and had then better = ends > best_end
          else better = grant.permission > best.permission end
        end
        if better then best, via, best_end = grant, principals[i], ends end
      end
    end
  end
  return best, via
end

local function decide(now, credential, bucket, need)
  local d = {have = 0, cap = 0, bucket = bucket, credential = credential, uid = credential.user}
  local user = record(USERS, credential.user)
  if not user or not user.enabled then return d, {'no', 'UserDisabled'} end
  d.user = user

  local own = not string.find(bucket, '.', 1, true)
  local name = own and (user.handle .. '.' .. bucket) or bucket
  d.mine = own or string.sub(bucket, 1, #user.handle + 1) == user.handle .. '.'
  -- Somebody else's name: "not there" and "not yours" are one answer, so that names cannot be probed.
  local unknown = d.mine and {'no', 'NoSuchBucket'} or {'no', 'AccessDenied', 'unknown', text(need), '0'}
  local id = redis.call('HGET', NAMES, name)
  if not id then return d, unknown end
  local ws = record(WORKSPACES, id)
  if not ws or ws.state == 'closed' then return d, unknown end
  d.id, d.ws = id, ws

  if ws.owner == d.uid then
    d.have, d.via = 3, 'owner'
  else
    -- A link is good for as long as its maker may share the workspace, whatever it lets strangers do.
    d.grant, d.via = best_grant(now, id, d.uid, user.groups, credential.kind == 'link' and 3 or need)
    if d.grant then d.have = d.grant.permission
    elseif ws.public then d.have, d.via = 1, 'public' end
  end
  if d.have == 0 then return d, unknown end
  if credential.kind == 'link' and d.have < 3 then return d, {'no', 'AccessDenied', 'permission', '3', text(d.have)} end

  local scope = given(credential.workspaces)
  if scope then
    local inside = false
    for _, allowed in ipairs(scope) do if allowed == id then inside = true end end
    if not inside then return d, {'no', 'AccessDenied', 'scope', text(need), '0'} end
  end
  d.cap = math.min(d.have, given(credential.permission) or 3)
  if d.cap < need then
    return d, {'no', 'AccessDenied', d.have < need and 'permission' or 'credential', text(need), text(d.cap)}
  end
  if need > 1 and ws.state == 'draining' then return d, {'no', 'Draining'} end
  return d
end

-- When what the decision rests on ends by itself and takes running transfers along, in ms from now; 0 for never. The
-- end of a key or session lets what was admitted finish; that of a share, or of a link (a share for strangers), does not.
local function ends_in(now, d)
  local ends = d.grant and given(d.grant.expires) or 0
  local own = d.credential.kind == 'link' and given(d.credential.expires) or 0
  if own > 0 and (ends == 0 or own < ends) then ends = own end
  if ends == 0 then return 0 end
  return math.max(1, ends - now)
end

-- All that a transfer depends on, as the names that revocations carry (protocol, rule 12).
local function chain(akid, d)
  local names = {'c:' .. akid, 'u:' .. d.uid, 'w:' .. d.id, 'node:' .. d.ws.node}
  for _, parent in ipairs(given(d.credential.parents) or {}) do names[#names + 1] = 'c:' .. parent end
  if d.grant then
    names[#names + 1] = 's:' .. d.grant.share
    for _, ancestor in ipairs(given(d.grant.chain) or {}) do names[#names + 1] = 's:' .. ancestor end
    if string.sub(d.via, 1, 2) == 'g:' then names[#names + 1] = d.via .. ':' .. d.uid end
  end
  return table.concat(names, ' ')
end
