-- buckets EPOCH AKID LIMIT
-- keys: STATE CREDENTIALS USERS WORKSPACES GRANTS INDEX
-- uses: state decision
--
-- What ListBuckets shows: own workspaces as `name`, those shared with the caller as `OWNER.name`, within the scope.
-- Answers {'ok', uid, name, created ms, …}, at most LIMIT buckets, or {'no', code}.

local now = enter(ARGV[1])
if not now then return {'no', 'NotReady'} end
local credential, denial = live_credential(now, ARGV[2])
if denial then return denial end
local user = record(USERS, credential.user)
if not user or not user.enabled then return {'no', 'UserDisabled'} end
local limit, scope, answer, seen, shown = tonumber(ARGV[3]), given(credential.workspaces), {'ok', credential.user}, {}, 0

local function show(id, own)
  if seen[id] or shown >= limit then return end
  local ws = record(WORKSPACES, id)
  if not ws or ws.state == 'closed' then return end
  seen[id] = true
  shown = shown + 1
  local name = ws.names[1]
  if own then name = string.sub(name, #user.handle + 2) end
  answer[#answer + 1], answer[#answer + 2] = name, text(ws.created)
end

local function within(id)
  if not scope then return true end
  for _, allowed in ipairs(scope) do if allowed == id then return true end end
  return false
end

local function each(prefix, own, principal)
  local members = redis.call('ZRANGEBYLEX', INDEX, '[' .. prefix, '(' .. prefix .. '\255', 'LIMIT', 0, limit)
  for _, member in ipairs(members) do
    local id = string.sub(member, #prefix + 1)
    if within(id) then
      if own then show(id, true)
      else
        local grant = record(GRANTS, id .. '|' .. principal)
        if grant and (given(grant.expires) or math.huge) > now then
          local ws = record(WORKSPACES, id)
          if ws and ws.owner ~= credential.user then show(id, false) end
        end
      end
    end
  end
end

each('o:' .. credential.user .. ':', true)
each('s:u:' .. credential.user .. ':', false, 'u:' .. credential.user)
for _, group in ipairs(user.groups) do each('s:g:' .. group .. ':', false, 'g:' .. group) end
each('s:*:', false, '*')
return answer
